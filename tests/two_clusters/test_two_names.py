"""Two clusters of different names in one VPC never touch each other's routes and interfaces."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.controller.lab import NATIVE, OVERLAY, POOL, Lab
from tests.two_clusters.pair import Pair, pair, routes_of

DISJOINT = ({"cluster_cidr": (POOL, "fd64::/64")}, {"cluster_cidr": ("100.65.0.0/16", "fd65::/64")})
SAME = ({"cluster_cidr": (POOL, "fd64::/64")}, {"cluster_cidr": (POOL, "fd64::/64")})


def live(both: Pair, zones: tuple[int, int]) -> None:
    """Nodes of both join, stop, die and go, limits fall and rise, controllers restart."""
    one, two = both.one, both.two
    names = {one: [one.join(zones[0]) for _ in range(3)], two: [two.join(zones[1]) for _ in range(3)]}
    both.run()
    both.resync()  # each has read the other's routes, and one more turn settles a CIDR that both chose
    for cluster, other in ((one, two), (two, one)):
        before = routes_of(other)
        stopped, dead, gone = names[cluster]
        one.aws.scene.stop(cluster.instance(stopped))
        both.resync()
        cluster.terminate(dead)
        both.resync()
        cluster.kube.delete("nodes", gone)
        both.resync()
        cluster.start()
        one.aws.scene.start(cluster.instance(stopped))
        both.resync()
        cluster.join(zones[cluster is two])
        both.resync()
        assert routes_of(other) == before
    for cluster in (one, two):
        cluster.start(route_limit=1)
        both.resync()
        cluster.start(route_limit=50)
        both.resync()


def enis(cluster: Lab) -> set[str]:
    return {machine.interface_id for machine in cluster.machines.values()}


@pytest.mark.parametrize("pools", [DISJOINT, SAME], ids=["pools-apart", "one-pool"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared-table", "own-tables"])
def test_neither_touches_the_others_routes(*, shared: bool, pools: tuple[dict[str, object], dict[str, object]]) -> None:
    """Neither deletes or replaces the other's routes, in both families, through changes of both and a cleanup.

    Where they share a table and a pool, either may remove the blackhole of a terminated node, and nothing else.
    """
    names = ({"cluster_name": "one"}, {"cluster_name": "two"})
    one, two = ({**name, **pool} for name, pool in zip(names, pools, strict=True))
    with pair(one, two, zones=2, one_table=shared, ipv6=True) as both:
        live(both, (0, 0 if shared else 1))
        for cluster in (both.one, both.two):
            assert set(cluster.conditions().values()) == {NATIVE}
            assert len(routes_of(cluster)) == 2 * len(cluster.conditions()), "one for each family"
        kept, theirs = routes_of(both.one), routes_of(both.two)
        both.two.start(leave=True)
        both.two.run()
        assert routes_of(both.one) == kept
        assert not theirs.keys() & {(t, cidr) for t in both.one.tables() for cidr in both.one.routes(t)}
        assert both.two.published() == {}
        may_bury = shared and pools is SAME
        assert [one for one in both.ledger.trespasses if one.alive or not may_bury] == []
        for cluster, key in both.keys.items():
            assert both.ledger.interfaces[key] <= enis(cluster)
            assert both.ledger.writes[key, "DeleteRoute"] > 0


def test_a_tables_limit_is_shared() -> None:
    """Both clusters' routes count against the limit; none is deleted, and the remaining nodes use VXLAN."""
    alike = {"route_limit": 6, "direct_routing": "off"}
    one = {"cluster_name": "one", "cluster_cidr": (POOL,), **alike}
    two = {"cluster_name": "two", "cluster_cidr": ("100.65.0.0/16",), **alike}
    with pair(one, two, zones=1) as both:
        first = both.one.join_many(4)
        both.run()
        second = both.two.join_many(4)
        both.run()
        both.resync()
        table = both.one.table()
        assert both.one.aws.highest[table, "ipv4"] == 6
        assert [both.one.condition(name) for name in first] == [NATIVE] * 4
        conditions = Counter(both.two.condition(name) for name in second)
        assert conditions == {NATIVE: 1, OVERLAY: 3}, "the sixth entry is the local route"
        both.one.start(leave=True)
        both.one.run()
        both.pass_seconds(61)
        both.two.run()
        assert [both.two.condition(name) for name in second] == [NATIVE] * 4
        assert both.ledger.trespasses == []


def test_the_ledger_sees_a_trespass() -> None:
    """A deletion of the other's route is recorded, and whether its target existed."""
    with pair({"cluster_name": "one"}, {"cluster_name": "two"}, zones=1) as both:
        both.one.join(0)
        both.run()
        ((table, cidr),) = routes_of(both.one)
        session = both.two.session
        assert session is not None
        session.client("ec2").delete_route(RouteTableId=table, DestinationCidrBlock=cidr)
        (found,) = both.ledger.trespasses
        assert found == (both.keys[both.two], "DeleteRoute", cidr, True)
