"""`path --probe`: send packets in a lab, and compare the result with the path that `path` predicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudroute.core.explain.trace import End
from cloudroute.core.paths import Explanation
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts import channel
from cloudroute.lab.hosts.capture import Capture
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.types import family_of


@dataclass(frozen=True, slots=True)
class Probe:
    """One question and its answer, of one address family. `went` is as Explanation.path; "" when nothing was sent."""

    address: str
    answered: bool
    went: str
    seen: str
    """Sender's address as the receiver saw it."""
    trouble: str
    """Difference from the prediction; "" when there is none."""

    @property
    def words(self) -> str:
        """One line of output."""
        if self.trouble:
            return f"{self.address}: NOT as said: {self.trouble}"
        if not self.answered:
            return f"{self.address}: as said, no answer"
        return f"{self.address}: as said: {self.went}, seen as {self.seen}"


def probe(kubeconfig: str, source: End, target: End, explain: Callable[[End, End], Explanation]) -> list[Probe]:
    """Probe each family that both ends have. `explain` predicts the path between two addresses.

    Raises CloudrouteError when `kubeconfig` is not that of a lab, or an end is not in it.
    """
    status = channel.ask(_lab_of(kubeconfig), {"do": "status"})
    one, other = (_Spot.find(end, status) for end in (source, target))
    probes = []
    with Echo([other.namespace]):
        for address in other.addresses:
            if mine := next((own for own in one.addresses if family_of(own) == family_of(address)), None):
                expected = explain(source._replace(addresses=(mine,)), target._replace(addresses=(address,)))
                # The VPC itself routes to a node's own address: only the reply takes the path.
                back = (source.kind, target.kind) == ("pod", "node")
                probes.append(_ask(one, other, mine, address, expected, status, back=back))
    if not probes:
        raise CloudrouteError("--probe: the two ends have no address family in common")
    return probes


@dataclass(frozen=True, slots=True)
class _Spot:
    """Location of an end in the lab: its namespace, its addresses, and the host that its packets leave."""

    namespace: str
    addresses: tuple[str, ...]
    host: str
    """The host's namespace."""

    @classmethod
    def find(cls, end: End, status: Mapping[str, Any]) -> _Spot:
        for host in status["hosts"]:
            for spot in (host, *host["pods"]):
                kind = "node" if spot is host else "pod"
                named = not end.addresses and kind == end.kind and host["name"] == end.node
                if named or set(end.addresses) & set(spot["addresses"]):
                    return cls(spot["namespace"], tuple(spot["addresses"]), host["namespace"])
        for other in status["others"]:
            if set(end.addresses) & set(other["addresses"]):
                return cls(other["namespace"], tuple(other["addresses"]), other["namespace"])
        what = ", ".join(end.addresses) or f"a pod on {end.node}"
        raise CloudrouteError(f"--probe: {what} is not in the lab; cloudroute lab status shows what is")


def _lab_of(kubeconfig: str) -> str:
    folder = Path(kubeconfig or "none").resolve().parent
    if folder.parent != channel.RUN:
        raise CloudrouteError(
            f"--probe sends packets, which works in a lab only: pass the --kubeconfig that `cloudroute lab up` names "
            f"({channel.RUN}/lab/kubeconfig)"
        )
    return folder.name


def _ask(
    one: _Spot, other: _Spot, mine: str, address: str, expected: Explanation, status: Mapping[str, Any], *, back: bool
) -> Probe:
    # The internet's host and plain instances have an eth0 as nodes do.
    with Capture({"source": Namespace(one.host), "target": Namespace(other.host)}) as capture:
        answer = reach(one.namespace, address)
    if back:
        went = _went(capture.ways.get(("target", mine), set()), expected.path, one, status)
    else:
        went = _went(capture.ways.get(("source", address), set()), expected.path, other, status)
    troubles = []
    if answer.ok != (expected.path != "none"):
        troubles.append(answer.error or "it was answered, and nothing should lead there")
    if expected.path != "none" and went != expected.path:
        troubles.append(f"it went {went} and not {expected.path}")
    if answer.ok and answer.seen_address != (expected.source or mine):
        troubles.append(f"it was seen as {answer.seen_address} and not as {expected.source or mine}")
    return Probe(address, answer.ok, went, answer.seen_address, "; ".join(troubles))


def _went(ways: set[tuple[str, str]], said: str, other: _Spot, status: Mapping[str, Any]) -> str:
    """Return the path to `other` that the frames on the NIC show."""
    if not ways:
        return "local"
    if len(ways) > 1:
        return f"several ways ({', '.join(sorted(how for how, _ in ways))})"
    ((how, where),) = ways
    if how == "tunnel":
        ends = next(host["addresses"] for host in status["hosts"] if host["namespace"] == other.host)
        return "overlay" if where in ends else f"through a tunnel to {where}"
    if said in ("vpc", "none"):
        return said
    mac = json.loads(Namespace(other.host).run("ip", "-j", "link", "show", "eth0"))[0]["address"]
    return "direct" if where == mac else "native"
