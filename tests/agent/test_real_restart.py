"""Restarts on a real kernel: after a kill at any entry the next process ends in the same tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kernel import HostKernel
from cloudroute.agent.cleanup import clean
from cloudroute.agent.gateway import Heartbeat
from cloudroute.agent.loop import Loop
from cloudroute.agent.report import Reporter
from cloudroute.config import AgentSettings
from cloudroute.dataplane import KINDS, TRANSIT_TABLE, Kind
from cloudroute.ports import KindDriver
from cloudroute.telemetry import AgentTelemetry
from cloudroute.types import NodeRoute
from tests.agent.in_memory import POOLS, TABLES, Killed, MemoryAgents, node_route
from tests.clock import FakeClock
from tests.hosts import Namespace, require_cni, require_netns, require_nftables

WORLD = (node_route(1, TABLES), node_route(2, TABLES), node_route(3), node_route(4, ips=["fd01::4"]))
CHANGED = (node_route(1, TABLES, gateway=True), node_route(2), node_route(3, TABLES), node_route(6))
"""Other peers and paths; and the node is a gateway now."""


class MortalTable:
    """Writes entry by entry, and dies when its life is over."""

    def __init__(self, kernel: Mortal, inner: KindDriver[Any, Any]) -> None:
        self._kernel, self._inner = kernel, inner

    def read(self, wanted: Collection[Any]) -> dict[Any, Any]:
        return self._inner.read(wanted)

    def write(self, put: Mapping[Any, Any], drop: Collection[Any]) -> dict[Any, str]:
        failed: dict[Any, str] = {}
        for key, value in put.items():
            self._kernel.spend()
            failed |= self._inner.write({key: value}, ())
        for key in drop:
            self._kernel.spend()
            failed |= self._inner.write({}, (key,))
        return failed


class Mortal(HostKernel):
    """A HostKernel whose process is killed after `life` entries."""

    def __init__(self, cni_conf_dir: str) -> None:
        super().__init__(cni_conf_dir)
        self.life = float("inf")
        self.spent = 0
        whole = super().tables
        self._mortal: dict[Kind, KindDriver[Any, Any]] = {kind: MortalTable(self, whole[kind]) for kind in KINDS}

    @property
    def tables(self) -> Mapping[Kind, KindDriver[Any, Any]]:
        return self._mortal

    def spend(self) -> None:
        if self.spent >= self.life:
            raise Killed
        self.spent += 1


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Mortal]:
    """The kernel of a host whose eth0 has n1's addresses."""
    require_netns()
    require_nftables()
    require_cni()
    with Namespace("cragent-") as host, host.inside():
        host.run("ip", "link", "add", "eth0", "mtu", "9001", "type", "veth", "peer", "name", "vpc0")
        host.run("sh", "-ec", _ETH0)
        kernel = Mortal(str(tmp_path / "net.d"))
        try:
            yield kernel
        finally:
            kernel.close()


_ETH0 = """
ip link set vpc0 up; ip addr add 10.0.0.1/20 dev eth0; ip addr add fd01::1/64 dev eth0 nodad; ip link set eth0 up
ip route add default via 10.0.0.254; ip -6 route add default via fe80::1 dev eth0
"""


def loop(kernel: Mortal, conf_dir: Path, *routes: NodeRoute) -> Loop:
    """Return the loop of a fresh process."""
    agents, clock = MemoryAgents(), FakeClock()
    agents.node_routes.objects = {route.name: route for route in routes}
    settings = AgentSettings(node_name="n1", cluster_cidr=POOLS, cni_conf_dir=str(conf_dir / "net.d"))
    return Loop(settings, agents, kernel, clock, AgentTelemetry(), Reporter(agents, clock), Heartbeat(agents, clock))


def state(kernel: Mortal, loop_: Loop) -> dict[Kind, dict[Any, Any]]:
    """Read all tables."""
    return {kind: kernel.tables[kind].read(loop_.sync.trackers[kind].wanted.keys()) for kind in KINDS}


def finish(kernel: Mortal, conf_dir: Path, *routes: NodeRoute) -> tuple[int, dict[Kind, dict[Any, Any]]]:
    """Run a fresh process; return the number of entries that it wrote, and the tables."""
    kernel.life, kernel.spent = float("inf"), 0
    fresh = loop(kernel, conf_dir, *routes)
    turn = fresh.turn()
    assert turn.report.ready, turn.report.message
    return kernel.spent, state(kernel, fresh)


def test_killed_after_any_entry_of_a_first_run(kernel: Mortal, tmp_path: Path) -> None:
    finish(kernel, tmp_path, *WORLD)
    clean(kernel)  # which leaves sysctls as they are
    steps, whole = finish(kernel, tmp_path, *WORLD)
    assert steps > 30
    assert finish(kernel, tmp_path, *WORLD) == (0, whole), "what is right is adopted, and nothing written"
    for life in range(steps):
        clean(kernel)
        kernel.life, kernel.spent = life, 0
        with pytest.raises(Killed):
            loop(kernel, tmp_path, *WORLD).turn()
        assert finish(kernel, tmp_path, *WORLD)[1] == whole, f"killed after {life} entries"


def test_killed_after_any_entry_of_a_change(kernel: Mortal, tmp_path: Path) -> None:
    finish(kernel, tmp_path, *CHANGED)  # whose sysctls stay
    finish(kernel, tmp_path, *WORLD)
    steps, whole = finish(kernel, tmp_path, *CHANGED)
    assert steps > 10
    for life in range(steps):
        finish(kernel, tmp_path, *WORLD)
        kernel.life, kernel.spent = life, 0
        with pytest.raises(Killed):
            loop(kernel, tmp_path, *CHANGED).turn()
        assert finish(kernel, tmp_path, *CHANGED)[1] == whole, f"killed after {life} entries"


def test_killed_after_any_entry_of_a_change_back(kernel: Mortal, tmp_path: Path) -> None:
    """The node is a gateway no longer. Its rules go first, so that no packet is led to an incomplete table."""
    finish(kernel, tmp_path, *CHANGED)
    steps, whole = finish(kernel, tmp_path, *WORLD)
    for life in range(steps):
        finish(kernel, tmp_path, *CHANGED)
        kernel.life, kernel.spent = life, 0
        with pytest.raises(Killed):
            loop(kernel, tmp_path, *WORLD).turn()
        rules = kernel.tables["rules"].read(())
        transit = [key for key in kernel.tables["routes"].read(()) if key.table == TRANSIT_TABLE]
        assert not rules or len(transit) == 8, f"killed after {life} entries"
        assert finish(kernel, tmp_path, *WORLD)[1] == whole, f"killed after {life} entries"


def test_cleanup_leaves_nothing_and_says_what_it_removed(kernel: Mortal, tmp_path: Path) -> None:
    finish(kernel, tmp_path, *WORLD)
    said = str(clean(kernel))
    assert said.startswith("removed 1 files, 1 nftables, 10 routes, 6 nexthops")
    assert str(clean(kernel)) == ""
