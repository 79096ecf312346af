"""The chart's DaemonSet on a real kubelet: the enforcer works with the rights that the chart gives it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.lab.hosts.images import make_images
from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.kube.real import CONTROL_PLANE, RealKubeApi, find_assets
from tests.deploy.test_on_a_node import NET_ADMIN, serve_the_api
from tests.lab.hosts.test_kubelet import PREFIX, Machine, machine, wait_until_serving
from tests.policies.conftest import Chart
from tests.policies.enforcer import TABLE, image_values, make_enforcer_image
from tests.policies.lab import NAME
from tests.required import lacking
from tests.waiting import eventually

NODE = "node-1"


@pytest.fixture
def node(program: Path, tmp_path: Path) -> Iterator[tuple[RealKubeApi, Machine]]:
    """A cluster of one node whose container runtime has the enforcer's image. It needs no network of pods."""
    if problems := missing():
        lacking("kubelet", *problems)
    if find_assets(CONTROL_PLANE) is None:
        lacking("apiserver")
    images = [*make_images(tmp_path), make_enforcer_image(program, tmp_path)]
    with contextlib.ExitStack() as undo:
        folder = Path(tempfile.mkdtemp(dir="/run", prefix=PREFIX))  # hosts have a /run of their own
        undo.callback(shutil.rmtree, folder)
        kube = RealKubeApi(control_plane=True)
        undo.callback(kube.close)
        kube.add_user(f"system:node:{NODE}")
        kube.start()
        port = int(kube.url.rpartition(":")[2])
        relay = Relay(port)
        undo.callback(relay.close)
        switch = Namespace(f"{PREFIX}policies")
        switch.create()
        undo.callback(switch.delete)
        switch.batch(["link add br0 type bridge", "link set br0 up"])
        one = machine(kube, relay, switch, folder, 1, NODE, images)
        undo.callback(one.namespace.delete)
        undo.callback(one.kubelet.stop)
        serve_the_api(one.namespace, port)
        one.kubelet.start()
        wait_until_serving(one.kubelet)
        yield kube, one


def test_the_enforcer_works_with_one_capability_a_read_only_root_and_filtered_system_calls(
    node: tuple[RealKubeApi, Machine], chart: Chart
) -> None:
    """Its table has the rules that hand packets to it, and its probe passes."""
    kube, one = node
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
    for item in chart(*image_values()):
        if item["metadata"]["name"] == NAME:
            kube.create(item)
    eventually(lambda: is_ready(kube), "the enforcer's pod to be ready", diagnosis=lambda: kube.list("pods"))
    listed = eventually(lambda: one.namespace.run("nft", "list", "table", "inet", TABLE, check=False), "the table")
    assert listed.count("queue") == 10, listed
    said = dict(line.split(":\t") for line in program_status(one).splitlines() if ":\t" in line)
    assert {which: int(said[which], 16) for which in ("CapEff", "CapPrm", "CapBnd")} == dict.fromkeys(
        ("CapEff", "CapPrm", "CapBnd"), NET_ADMIN
    )
    assert (said["NoNewPrivs"], said["Seccomp"], said["Uid"].split()[0]) == ("1", "2", "0")


def pod(kube: RealKubeApi) -> Any:
    """The enforcer's pod, {} before there is one."""
    return next(iter(kube.list("pods", "cloudroute")), {})


def is_ready(kube: RealKubeApi) -> bool:
    """Whether all of its containers run and none has ended."""
    statuses = pod(kube).get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all(one["ready"] and one["restartCount"] == 0 for one in statuses)


def program_status(one: Machine) -> str:
    """The file /proc/PID/status of the enforcer."""
    for pid in one.kubelet.pids:
        with contextlib.suppress(OSError):  # a process that has ended meanwhile
            if Path(f"/proc/{pid}/cmdline").read_text().startswith("/bin/netpol\0"):
                return Path(f"/proc/{pid}/status").read_text()
    raise AssertionError("no enforcer runs")
