"""The cost of gateways: of a failover, in a plan, and for the node that is one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median

from cloudroute.adapters.kube.agents import KubeAgents
from cloudroute.adapters.kube.gateways import LABEL, GatewayLeases, gateway_lease
from cloudroute.adapters.kube.project import meta, node_route
from cloudroute.clock import SystemClock
from tests.bench.beside_netlink import Bench, Took, without_other_garbage
from tests.bench.plans import NODES, TABLES, milliseconds
from tests.core.world import settled_world
from tests.measure.rows import Row, say
from tests.measure.stage import NAMESPACE, POOL, Stage

LEASE_SECONDS, FAILOVERS, ROUNDS = 3.0, 5, 7
RENEW_SECONDS = 0.25
"""Seconds between two renewals: four times as often as agents do, so that the last one before a silence is known."""
TARGET_SECONDS = LEASE_SECONDS + 0.5
TARGET_PLAN, TARGET_PROGRAMMING = 1.1, 2.0
GATEWAYS = 1000
TARGET_RENEWALS, TARGET_JUDGING = 5.0, 1.0
"""Percent of a core, for one renewal of each of `GATEWAYS` in a second."""


def measure() -> Iterator[Row]:
    """The rows that need no network namespace."""
    say(f"{FAILOVERS} failovers of a gateway")
    with Stage(zones=1, flags={"--gateway-nodes": "role=gateway"}) as stage:
        seconds = list(_failovers(stage))
    say(f"failovers: {min(seconds):.2f} to {max(seconds):.2f} s")
    words = f"gateway's last renewal to ReplaceRoute, lease {LEASE_SECONDS:g} s"
    yield Row(words, median(seconds), TARGET_SECONDS, "s")
    yield from _renewals()
    say("plans with gateways and without")
    yield Row(f"plan of {NODES:,} nodes by {TABLES} tables, with gateways / without", _plan_ratio(), TARGET_PLAN)


def measure_programming(peers: int) -> Iterator[Row]:
    """A gateway's kernel beside another node's, in the present namespace, which is a bare host's."""
    say(f"{peers} peers into an empty kernel, {ROUNDS} times as a gateway and as another node")
    took: dict[bool, list[Took]] = {False: [], True: []}
    with Bench(peers) as bench, without_other_garbage():
        for _ in range(ROUNDS):
            for gateway, rounds in took.items():
                bench.be_gateway(on=gateway)
                bench.clear()
                composing, putting = bench.by_agent()
                rounds.append(composing + putting)
    medians = {gateway: median(one.wall for one in rounds) for gateway, rounds in took.items()}
    say(f"gateway {medians[True] * 1000:.0f} ms, other node {medians[False] * 1000:.0f} ms")
    what = f"{peers:,} peers into an empty kernel, deciding included, gateway / other node"
    yield Row(what, medians[True] / medians[False], TARGET_PROGRAMMING)


def _failovers(stage: Stage) -> Iterator[float]:
    """Two gateways fall silent by turns: seconds from the last renewal of one to ReplaceRoute."""
    machines = dict(zip(("gw-a", "gw-b"), stage.aws.scene.launch(stage.vpc.zones[0], 2), strict=True))
    for name, machine in machines.items():
        stage.join(name, machine, more={"metadata": {"labels": {"role": "gateway"}}})
        stage.kube.patch_status("nodes", name, {"conditions": [{"type": "Ready", "status": "True"}]})
    agents = {name: KubeAgents(str(stage.kubeconfig), name, NAMESPACE) for name in machines}
    stage.start()
    stage.leader()
    stage.until(lambda: len(stage.kube.list("noderoutes")) == len(machines), "the NodeRoutes")

    def until(wanted: Callable[[], bool], what: str, *names: str) -> None:
        """Wait while these gateways renew their Leases."""

        def so() -> bool:
            for name in names:
                agents[name].renew_gateway_lease(node_route(stage.kube.get("noderoutes", name)))
            return wanted()

        stage.until(so, what, RENEW_SECONDS)

    until(lambda: bool(_holder(stage)), "an aggregate", *machines)
    for number in range(1, FAILOVERS + 1):
        rested = time.monotonic() + 2 * LEASE_SECONDS
        until(partial(_past, rested), "rest", *machines)
        start = time.monotonic()
        others = [name for name, machine in machines.items() if machine.interface_id != _holder(stage)]
        until(partial(_replaced, stage, number), "a failover", *others)
        yield stage.asked("ReplaceRoute")[number - 1] - start


def _renewals() -> Iterator[Row]:
    """CPU time for a second of renewals, whole and without the decoding: the shares of a core, in percent."""
    say(f"renewals of {GATEWAYS:,} gateways")
    leases = GatewayLeases(LEASE_SECONDS, SystemClock(), lambda: None)
    leases.replace(1, [])
    whole, judging = [], []
    for second in range(ROUNDS):
        lines = [json.dumps(_renewed(number, second)) for number in range(GATEWAYS)]
        start = time.process_time()
        events = [(meta(raw), gateway_lease(raw)) for raw in map(json.loads, lines)]
        decoded = time.process_time()
        for about, lease in events:
            leases.upsert(about, lease)
            leases.judge(time.monotonic())
        judging.append((time.process_time() - decoded) * 100)
        whole.append((time.process_time() - start) * 100)
    words = f"a second of {GATEWAYS:,} gateways' renewals, CPU of one core"
    yield Row(f"{words}, decoding included", median(whole), TARGET_RENEWALS, "%")
    yield Row(f"{words}, judging alone", median(judging), TARGET_JUDGING, "%")


def _renewed(number: int, second: int) -> dict[str, object]:
    """A gateway's Lease as the API server sends it."""
    owner = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "name": f"n{number}", "uid": f"uid-{number}"}
    fields: dict[str, object] = {
        "f:metadata": {"f:ownerReferences": {}},
        "f:spec": {"f:holderIdentity": {}, "f:renewTime": {}},
    }
    metadata = {
        "name": f"gw-n{number}",
        "namespace": NAMESPACE,
        "resourceVersion": str(GATEWAYS * second + number),
        "labels": {LABEL: "true"},
        "ownerReferences": [owner],
        "managedFields": [
            {"manager": "cloudroute", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}
        ],
    }
    spec = {"holderIdentity": f"n{number}", "renewTime": f"2026-01-01T00:00:{second:02}.{number:06}Z"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _past(end: float) -> bool:
    return time.monotonic() > end


def _replaced(stage: Stage, times: int) -> bool:
    return len(stage.asked("ReplaceRoute")) >= times


def _holder(stage: Stage) -> str:
    """The ENI that the aggregate leads to; "" while there is none."""
    routes = stage.aws.scene.routes(stage.vpc.zones[0].route_table_id)
    return str(routes.get(POOL, {}).get("NetworkInterfaceId", ""))


def _plan_ratio() -> float:
    world = settled_world(NODES, TABLES, 50)
    without = milliseconds(world.snapshot(), world.policy)
    for zone in world.zones:
        world.join(zone, f"gateway-{zone}", gateway="candidate")
    world.policy = replace(world.policy, gateways=True)
    world.settle()
    return milliseconds(world.snapshot(), world.policy) / without
