"""A whole lab: nodes join, fail and leave, and everything is removed in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.host import LabPod
from cloudroute.lab.hosts.lab import HostLab, tear_down
from cloudroute.lab.hosts.netns import Namespace, leftovers
from cloudroute.lab.hosts.nodes import condition
from cloudroute.lab.hosts.teardown import folder_of, prefix_of
from cloudroute.lab.kube import StatusError
from tests.hosts import require_cni, require_netns
from tests.waiting import eventually

NAME = f"crlh{os.getpid()}"


@pytest.fixture(scope="module")
def quiet() -> Iterator[HostLab]:
    """A lab whose nodes have no agents, with three nodes."""
    require_netns()
    with HostLab(f"{NAME}q", agents=False, real_kube=False) as lab:
        lab.join(0, 2)
        lab.join(1, name="web")
        lab.wait_ready()
        yield lab


def ready(lab: HostLab, name: str) -> str:
    return condition(lab.kube.get("nodes", name), "Ready")


def native(lab: HostLab) -> set[str]:
    return {route["metadata"]["name"] for route in lab.node_routes() if route["spec"].get("nativeIn")}


def test_a_node_is_registered_as_kubelet_and_cloud_provider_do_it(quiet: HostLab) -> None:
    host, node = quiet.hosts["web"], quiet.kube.get("nodes", "web")
    assert node["spec"]["providerID"] == host.machine.provider_id
    internal = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
    assert tuple(internal) == host.addresses
    assert ["10.0.16.4" in internal[0], ":" in internal[1]] == [True, True]


def test_a_node_becomes_ready_when_it_has_a_cni_configuration_and_unready_without(quiet: HostLab) -> None:
    quiet.wait(lambda: ready(quiet, "web") == "False", "a Node without network", 10)
    file = quiet.hosts["web"].conf_dir / "10-cloudroute.conflist"
    file.write_text("{}")
    quiet.wait(lambda: ready(quiet, "web") == "True", "a Node with network", 10)
    assert condition(quiet.kube.get("nodes", "web"), "NetworkUnavailable") == "False"
    file.unlink()
    quiet.wait(lambda: ready(quiet, "web") == "False", "a Node without network", 10)


def test_the_kubeconfig_works_on_every_host_and_the_api_comes_back_where_it_was(quiet: HostLab) -> None:
    url = f"http://127.0.0.1:{quiet.api.port}/healthz"
    fetch = (sys.executable, "-c", "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read())", url)
    for host in quiet.hosts.values():
        assert "ok" in host.run(*fetch)
    quiet.stop_api()
    with pytest.raises(CloudrouteError, match=r"RemoteDisconnected|reset|refused"):
        quiet.hosts["web"].run(*fetch)
    quiet.start_api()
    assert "ok" in quiet.hosts["web"].run(*fetch)
    assert quiet.kube.get("nodes", "web")
    quiet.wait_ready()


def test_a_vm_is_reached_and_is_no_node(quiet: HostLab) -> None:
    vm = quiet.vm(2)
    for address in vm.addresses:
        assert "1 received" in quiet.hosts["web"].run("ping", "-c1", "-W2", address)
    assert vm.name not in {node["metadata"]["name"] for node in quiet.kube.list("nodes")}


def test_a_name_that_is_taken_and_a_host_that_is_not_there_are_named(quiet: HostLab) -> None:
    with pytest.raises(CloudrouteError, match="there is a host web already"):
        quiet.join(0, name="web")
    with pytest.raises(CloudrouteError, match="there is no host nobody; there are node-1, "):
        quiet.terminate("nobody")
    with pytest.raises(CloudrouteError, match=r"there is a lab .* already"):
        HostLab(quiet.name, real_kube=False).start()
    with pytest.raises(CloudrouteError, match="can't be called 'No-Lab'"):
        HostLab("No-Lab")


def test_a_terminated_node_is_gone_with_all_that_was_its_own(quiet: HostLab) -> None:
    (host,) = quiet.join(1, name="short")
    quiet.wait_ready()
    process = host.namespace.popen(["sleep", "600"])
    quiet.terminate("short")
    assert process.wait(5)
    assert not host.namespace.exists
    assert "short" not in quiet.hosts
    with pytest.raises(StatusError, match="not found"):
        quiet.kube.get("nodes", "short")
    quiet.wait(lambda: "short" not in {r["metadata"]["name"] for r in quiet.node_routes()}, "its NodeRoute to go", 30)


def test_a_node_terminated_while_the_api_is_away_is_deleted_when_that_is_back(quiet: HostLab) -> None:
    quiet.join(1, name="late")
    quiet.wait_ready()
    quiet.stop_api()
    quiet.terminate("late")
    quiet.start_api()
    quiet.wait(lambda: "late" not in {n["metadata"]["name"] for n in quiet.kube.list("nodes")}, "the Node to go", 10)


def test_a_replaced_node_is_another_instance_under_the_same_name(quiet: HostLab) -> None:
    old = quiet.hosts["node-2"]
    new = quiet.replace("node-2")
    assert (new.zone, new.name) == (old.zone, old.name)
    assert new.machine.id != old.machine.id
    quiet.wait_ready()
    assert quiet.kube.get("nodes", "node-2")["spec"]["providerID"] == new.machine.provider_id


def test_the_route_limit_changes_while_it_runs_and_both_replicas_live(quiet: HostLab) -> None:
    quiet.wait(lambda: native(quiet) == set(quiet.hosts), "all to be native", 30)
    # local and default route, and one more.
    quiet.set_route_limit(3)
    quiet.wait(lambda: len(native(quiet)) < len(quiet.hosts), "some to be drained", 30)
    quiet.set_route_limit(100)
    quiet.wait(lambda: native(quiet) == set(quiet.hosts), "all to be native again", 30)
    assert [replica.alive for replica in quiet.controllers.replicas] == [True, True]


def test_the_controllers_end_and_start_again(quiet: HostLab) -> None:
    quiet.kill_controller()
    assert quiet.controllers.replicas == []
    quiet.start_controller()
    quiet.wait(lambda: quiet.leader() is not None, "a leader", 30)
    quiet.stop_controller()
    assert quiet.controllers.replicas == []
    quiet.start_controller()
    quiet.join(1, name="after")
    quiet.wait_ready()


# --- with agents ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Two nodes with agents, in two zones."""
    require_netns()
    require_cni()
    with HostLab(f"{NAME}a", zones=2, real_kube=False) as built:
        built.join(0)
        built.join(1)
        built.wait_ready()
        yield built


def pings(pod: LabPod, *addresses: str) -> bool:
    return all("1 received" in pod.namespace.run("ping", "-c1", "-W1", one, check=False) for one in addresses)


def test_pods_of_two_nodes_reach_each_other_the_hosts_and_the_internet(lab: HostLab) -> None:
    one, two = (host.add_pod("web") for host in lab.hosts.values())
    targets = (*two.addresses, *two.host.addresses, *lab.internet.addresses)
    lab.wait(lambda: pings(one, *targets), "all to answer", 10)
    lab.wait(lambda: native(lab) == set(lab.hosts), "both to be native", 30)
    assert pings(one, *targets)
    for pod in (one, two):
        pod.host.remove_pod(pod)
        assert not pod.namespace.exists
        assert pod.host.pods == {}


def test_an_agent_is_killed_stopped_frozen_and_started(lab: HostLab) -> None:
    host = lab.hosts["node-1"]
    host.freeze_agent()
    state = Path(f"/proc/{host.agent_pid}/stat")
    lab.wait(lambda: " T " in state.read_text(), "the agent to stand still", 10)
    host.thaw_agent()
    lab.wait(lambda: " T " not in state.read_text(), "the agent to go on", 10)
    host.freeze_agent()
    host.stop_agent()
    assert not host.agent_alive
    host.start_agent()
    with pytest.raises(CloudrouteError, match="runs on node-1 already"):
        host.start_agent()
    host.kill_agent()
    with pytest.raises(CloudrouteError, match="no agent runs on node-1"):
        host.kill_agent()
    host.start_agent()
    lab.wait_ready()


# --- after a crash --------------------------------------------------------------------------------

CRASHING = """
import os, sys
from cloudroute.lab.hosts.lab import HostLab
lab = HostLab(sys.argv[1])
lab.start()
lab.join(0)
print("built", lab.api.port, flush=True)
os.kill(os.getpid(), 9)
"""


def test_after_a_crash_a_lab_is_removed_by_its_name_alone(tmp_path: Path) -> None:
    require_netns()
    name = f"{NAME}c"
    argv = [sys.executable, "-c", CRASHING, name]
    # Not by pipes: what the lab has started holds them open.
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)
        assert process.wait(60) == -9, (tmp_path / "out").read_text()
    assert leftovers(prefix_of(name))
    bystander = Namespace(f"cr-{name}x-vpc")
    bystander.create()
    try:
        removed = tear_down(name)
        assert bystander.exists, "another lab's"
    finally:
        bystander.delete()
    assert f"namespace {prefix_of(name)}vpc" in removed
    assert leftovers(prefix_of(name)) == []
    assert not folder_of(name).exists()
    ps = ["ps", "-eo", "args"]
    eventually(lambda: name not in subprocess.run(ps, capture_output=True, text=True).stdout, "no process is left", 10)
    assert tear_down(name) == []
