"""Shared by the tests with packets: labs, and the paths that their NodeRoutes tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count, permutations
from typing import Any, Protocol
from urllib.request import urlopen

from cloudroute.adapters.kube.project import node_route
from cloudroute.core.paths import Class, pair_path
from cloudroute.lab.hosts.host import LabHost, LabPod
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Flow, Result, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.lab.kube import Object
from cloudroute.types import NodeRouteSpec, Path

FLAGS = {"--settle-seconds": "0.5", "--drain-seconds": "2", "--resync-seconds": "5"}
"""Beside the lab's own: shorter still. A drain of two seconds is ten times what an agent here needs to hear of it."""
OWN_ENTRIES = 2
"""Entries of each table and family that are not ours: local and the internet gateway."""
POD_MTU = 9001 - 50
"""Largest packet on every path: an ENI's MTU less the overlay's header."""
UDP_MS = 1.0
"""Between two packets of a flow: in Python each costs a core 25 microseconds."""
UDP_PER_TCP = 20
"""UDP packets between two writes to a TCP connection, which cost 60 microseconds each."""
_names = count(1)


def new_lab(prefix: str, **options: Any) -> HostLab:
    """A lab with a name of its own. Flags of controllers are added to `FLAGS`."""
    flags = {**FLAGS, **options.pop("controller_flags", {})}
    return HostLab(f"{prefix}{next(_names)}", controller_flags=flags, **options)


class Cluster(Protocol):
    """Hosts, and NodeRoutes of them."""

    @property
    def hosts(self) -> Mapping[str, LabHost]: ...
    def node_routes(self) -> list[Object]: ...


def specs(lab: Cluster) -> Mapping[str, NodeRouteSpec]:
    """The NodeRoutes as they are."""
    return {raw["metadata"]["name"]: node_route(raw).spec for raw in lab.node_routes()}


def paths(lab: Cluster) -> Mapping[tuple[str, str], Path]:
    """The path of each ordered pair of hosts, as the controller has published it."""
    found = specs(lab)
    return {
        (a, b): pair_path(Class.of(found[a]), Class.of(found[b]))
        for a, b in permutations(lab.hosts.keys() & found.keys(), 2)
    }


def wait_for_paths(lab: HostLab, wanted: Callable[[Mapping[tuple[str, str], Path]], bool], what: str) -> None:
    """Until the published paths are so, and every agent has taken them over."""

    def so() -> bool:
        now = paths(lab)
        return len(now) == len(lab.hosts) * (len(lab.hosts) - 1) and wanted(now) and not lab.net.trouble

    lab.wait(so, what, 60)
    lab.wait_ready(30)


def kinds(lab: Cluster) -> set[Path]:
    """The kinds of paths between all pairs."""
    return set(paths(lab).values())


def everybody_reaches_everybody(lab: Cluster, diagnosis: Callable[[], str] = lambda: "") -> None:
    """Pods `web` of all hosts do, with full-size packets, in both families, and nobody's address is translated."""
    pods = {name: host.pods["web"] for name, host in lab.hosts.items()}
    with Echo([pod.namespace.name for pod in pods.values()]):
        for a, b in permutations(pods, 2):
            for family in (0, 1):
                for protocol in ("udp", "tcp"):
                    answer = reach(pods[a].namespace.name, pods[b].addresses[family], protocol, POD_MTU)
                    assert answer.ok, f"{a} to {b} ({paths(lab).get((a, b))}): {answer.error}\n{diagnosis()}"
                    assert answer.seen_address == pods[a].addresses[family]


def settle(lab: HostLab) -> None:
    """Until the controllers have nothing to do for longer than they drain."""
    lab.settle(calm=2.5)


def wait_for_agents(lab: HostLab) -> None:
    """Until every agent that runs now has done its work itself: what the NodeRoutes say may be its predecessor's."""

    def ready(host: LabHost) -> bool:
        with suppress(OSError), host.namespace.inside(), urlopen("http://127.0.0.1:10256/readyz", timeout=5):
            return True
        return False

    lab.wait(lambda: all(map(ready, lab.hosts.values())), "the agents to be ready")


def first_pod(host: LabHost) -> LabPod:
    """Its pod."""
    return next(iter(host.pods.values()))


def flows(hosts: Iterable[LabHost], protocols: Iterable[str] = ("udp", "tcp")) -> list[Flow]:
    """Between the first pods of all ordered pairs of hosts, both families."""
    return [
        Flow(first_pod(a).namespace.name, first_pod(b).namespace.name, address, protocol)  # type: ignore[arg-type]
        for a, b in permutations(hosts, 2)
        for address in first_pod(b).addresses
        for protocol in protocols
    ]


@contextmanager
def no_loss(hosts: Iterable[LabHost], interval_ms: float = UDP_MS) -> Iterator[Traffic]:
    """Traffic between the pods of these hosts for as long as the block lasts: not one packet may be lost."""
    slower = UDP_PER_TCP * interval_ms
    with Traffic(flows(hosts, ["udp"]), interval_ms) as udp, Traffic(flows(hosts, ["tcp"]), slower) as tcp:
        yield udp
        check_no_loss(udp.stop())
        check_no_loss(tcp.stop())


def check_no_loss(results: Mapping[Flow, Result]) -> None:
    """Nothing was lost, no TCP segment was sent twice, and every packet came from the pod that sent it."""
    for flow, result in results.items():
        about = f"{flow}: {result}"
        assert not result.errors, about
        assert not result.broken, about
        assert result.lost == result.tool_lost == 0, about
        assert result.retransmissions == 0, about
        assert result.received > 0, about
        assert len(result.sources) == 1, about
