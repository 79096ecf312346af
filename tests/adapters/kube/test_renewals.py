"""Renewals of gateways' Leases, and the loop that they wake."""

from __future__ import annotations

from functools import partial

from cloudroute.adapters.kube.agents import KubeAgents
from cloudroute.adapters.kube.cluster import Gateways, KubeCluster
from cloudroute.adapters.kube.gateways import gateway_lease
from cloudroute.lab.kube import KubeApi
from cloudroute.selector import EVERY
from cloudroute.types import NodeRoute, NodeRouteSpec
from tests.clock import FakeClock
from tests.waiting import eventually

SPEC = NodeRouteSpec((), (), "", "", "", "", ())


def test_a_loop_is_woken_by_the_first_renewal_and_by_one_after_a_pause(api: KubeApi, kubeconfig: str) -> None:
    """The pause has moved the time at which it expects a silence; between two renewals it may sleep."""
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
    clock, woken = FakeClock(), []
    cluster = KubeCluster(kubeconfig, clock, gateways=Gateways(EVERY))
    agent = KubeAgents(kubeconfig, "gw")
    cluster.start(lambda: woken.append(clock.monotonic()))
    for store in (cluster.nodes, cluster.node_routes, cluster.route_table_objects):
        assert store.wait_synced(5)
    eventually(lambda: cluster.heartbeats.known.listening, "the first list is there")
    start = clock.monotonic()
    for seconds in (1.0, 2.0, 3.0, 6.0, 7.0):
        clock.time = start + seconds
        agent.renew_gateway_lease(NodeRoute("gw", "u", "1", "", SPEC))
        eventually(partial(_heard_at, cluster, clock.time), "the renewal is heard")
    assert [at - start for at in woken if at > start] == [1.0, 6.0]
    cluster.stop()
    agent.transport.close()


def test_a_lease_passes_to_the_node_route_of_the_machine_that_replaces_another(api: KubeApi, kubeconfig: str) -> None:
    """Else Kubernetes would remove it with the former NodeRoute, and no controller would believe the new machine."""
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
    agent = KubeAgents(kubeconfig, "gw")
    for uid in ("former", "present"):
        agent.renew_gateway_lease(NodeRoute("gw", uid, "1", "", SPEC))
        lease = gateway_lease(api.get("leases", "gw-gw", "cloudroute"))
        assert lease
        assert (lease.node, lease.renewal.owner) == ("gw", uid)
    agent.transport.close()


def _heard_at(cluster: KubeCluster, time: float) -> bool:
    heard = cluster.heartbeats.known.heard.get("gw")
    return heard is not None and heard.at == time
