"""The cost of a cable for each pod, beside the bridge that pods were on before.

The same hosts, paths, plugins and pods; only the conflist differs. Veth and one kernel, as in `throughput`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from statistics import median

from cloudroute.core.node.peers import gateway
from cloudroute.dataplane import CONFLIST, VXLAN_OVERHEAD, written
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from tests.bench.throughput import MTU, ROUNDS, SECONDS, End, gigabits
from tests.measure.rows import Row, say
from tests.moving.former import leave_bridge
from tests.packets.labs import settle, specs

STARTS = 7
TARGET_SPEED, TARGET_START = 1.25, 1.5
WAYS = ("bridge", "ptp")


def measure() -> Iterator[Row]:
    """Medians of TCP between pods, IPv4, and of starts of pods with both families."""
    say(f"pods on a bridge and by ptp, {ROUNDS} times {SECONDS} s, {STARTS} starts")
    with HostLab(f"crbp{secrets.token_hex(3)}", zones=2, mtu=MTU, real_kube=False) as lab:
        one, other = (lab.join(zone)[0] for zone in (0, 1))
        settle(lab)
        speeds: dict[str, list[float]] = {}
        starts: dict[str, list[float]] = {}
        pairs: dict[str, tuple[End, End]] = {}
        for way in WAYS:
            if way == "bridge":
                for host in (one, other):
                    host.stop_agent()
                    leave_bridge(host, specs(lab)[host.name].pod_cidrs, MTU - VXLAN_OVERHEAD["ipv4"])
            a, b, far = _end(one, f"{way}-a"), _end(one, f"{way}-b"), _end(other, f"{way}-a")
            pairs |= {f"{way}, own node": (a, b), f"{way}, other node": (a, far)}
            starts[way] = [_start(lab, one, f"{way}-{number}") for number in range(STARTS)]
            if way == "bridge":
                for host in (one, other):
                    host.start_agent()
                    lab.wait(lambda host=host: "ptp" in (host.conf_dir / CONFLIST).read_text(), "its conflist")  # type: ignore[misc]
        for _ in range(ROUNDS):
            for what, (source, target) in pairs.items():
                speeds.setdefault(what, []).append(gigabits(source, target))
    yield from rows({what: median(found) for what, found in speeds.items()}, {w: median(t) for w, t in starts.items()})


def rows(speeds: Mapping[str, float], starts: Mapping[str, float]) -> Iterator[Row]:
    """Compare the times with those on a bridge, as ratios."""
    for place in ("own node", "other node"):
        bridge, ptp = (speeds[f"{way}, {place}"] for way in WAYS)
        yield Row(
            f"throughput to a pod of the {place}, on a bridge / by ptp ({bridge:.1f} and {ptp:.1f} Gbit/s)",
            bridge / ptp,
            TARGET_SPEED,
        )
    bridge, ptp = (starts[way] for way in WAYS)
    yield Row(
        f"pod created to its gateway's answer in both families, by ptp / on a bridge ({ptp:.2f} and {bridge:.2f} s)",
        ptp / bridge,
        TARGET_START,
    )


def _end(host: LabHost, name: str) -> End:
    pod = host.add_pod(name)
    return End(pod.namespace, pod.addresses[0])


def _start(lab: HostLab, host: LabHost, name: str) -> float:
    """Seconds from the creation of a pod until its gateway answers it."""
    gateways = [written(gateway(cidr)) for cidr in specs(lab)[host.name].pod_cidrs]
    began = time.monotonic()
    pod = host.add_pod(name)
    for address in gateways:
        pod.namespace.run("ping", "-c1", "-W5", address)
    took = time.monotonic() - began
    host.remove_pod(pod)
    return took
