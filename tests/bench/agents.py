"""The agent with 5,000 peers of both families: beside raw netlink, and its process: memory, and CPU at rest.

The process reads NodeRoutes from an API server and programs a namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cloudroute.adapters.cni import find_plugins
from cloudroute.core.node.conflist import NEEDED_PLUGINS
from cloudroute.crds import manifests
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.replica import clean_environment
from tests.bench import beside_netlink, gateways
from tests.bench.nodes import NIC, OWN, POOLS, ZONES, bare_host, manifest, table
from tests.measure.process import memory_mb
from tests.measure.rows import Row, say
from tests.waiting import eventually

MANY, FEW = 5_000, 10
"""Peers."""
START_SECONDS, REST_SECONDS, IDLE_SECONDS = 120.0, 3.0, 30.0
TARGET_MB, TARGET_PERCENT, TARGET_GATEWAY = 64.0, 0.1, 1.5


def lacking() -> str:
    """Return the requirements that are missing, in words; "" when all are there."""
    if os.geteuid() != 0:
        return "this is not root, and network namespaces are the kernel's to make"
    if tools := [name for name in ("ip", "nft") if shutil.which(name) is None]:
        return f"install {' and '.join(tools)} (Debian: iproute2, nftables)"
    if not set(NEEDED_PLUGINS) <= set(find_plugins()[0]):
        return "install the CNI plugins (Debian: containernetworking-plugins)"
    return ""


def measure() -> Iterator[Row]:
    """Measure all rows; `lacking` must be empty."""
    with bare_host() as namespace, namespace.inside():
        rows = [*beside_netlink.measure(MANY), *gateways.measure_programming(MANY)]
    yield from rows
    yield from _processes()


def _processes() -> Iterator[Row]:
    """Both rest at the same time: what counts is their own CPU."""
    with ExitStack() as stack:
        say(f"two agents, with {FEW} and with {MANY} peers")
        pids = {peers: stack.enter_context(_agent(peers)) for peers in (FEW, MANY)}
        time.sleep(REST_SECONDS)
        pid = pids[MANY]
        figures = {field: memory_mb(pid, field) for field in ("VmRSS", "VmHWM", "RssAnon")}
        say(f"memory of the agent with {MANY} peers: {', '.join(f'{k} {v:.1f} MB' for k, v in figures.items())}")
        yield Row(f"RSS of an agent with {MANY:,} peers, dual stack", figures["VmRSS"], TARGET_MB, "MB")
        with _agent(MANY, gateway=True) as gateway:
            time.sleep(REST_SECONDS)
            ratio = memory_mb(gateway, "VmRSS") / figures["VmRSS"]
        yield Row(f"RSS of an agent with {MANY:,} peers, gateway / other node", ratio, TARGET_GATEWAY)
        say(f"{IDLE_SECONDS:.0f} s of rest")
        before = {peers: _cpu_seconds(pid) for peers, pid in pids.items()}
        time.sleep(IDLE_SECONDS)
        for peers, pid in pids.items():
            percent = (_cpu_seconds(pid) - before[peers]) / IDLE_SECONDS * 100
            yield Row(f"CPU of an agent at rest, {peers:,} peers", percent, TARGET_PERCENT, "%")


@contextmanager
def _agent(peers: int, *, gateway: bool = False) -> Iterator[int]:
    """The real process, and its id once it has programmed all peers."""
    kube = KubeApi()
    for item in (*manifests(), *map(manifest, range(peers + 1)), *map(table, range(ZONES))):
        kube.create(item)
    if gateway:
        kube.patch("noderoutes", OWN, {"spec": {"gateway": True}})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudroute-bench-")))
        server = kube.serve()
        stack.callback(server.close)
        namespace = stack.enter_context(bare_host())
        relay = Relay(server.port)
        stack.callback(relay.close)
        relay.add(namespace)
        process = _start(namespace, folder, server.kubeconfig(folder / "kubeconfig"))
        stack.callback(process.wait)
        stack.callback(process.kill)

        def says() -> str:
            return (folder / "log").read_text(encoding="utf-8")[-2000:]

        def ready() -> bool:
            assert process.poll() is None, f"the agent has ended:\n{says()}"
            return bool(kube.get("noderoutes", OWN).get("status", {}).get("ready"))

        eventually(ready, "the agent to be ready", START_SECONDS, says)
        yield process.pid


def _start(namespace: Namespace, folder: Path, kubeconfig: Path) -> subprocess.Popen[bytes]:
    conf = folder / "net.d"
    conf.mkdir()
    pools = [word for pool in POOLS for word in ("--cluster-cidr", pool)]
    own = ["--node-name", OWN, "--interface", NIC, "--kubeconfig", str(kubeconfig), "--cni-conf-dir", str(conf)]
    command = [sys.executable, "-m", "cloudroute", "agent", *own, *pools, "--listen", "127.0.0.1:0"]
    with (folder / "log").open("wb") as output:
        return namespace.popen(command, env=clean_environment(), stdout=output, stderr=output)


def _cpu_seconds(pid: int) -> float:
    """Of all its threads, to the nanosecond: what `stat` says comes in ticks of 10 ms, a third of the target."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9
