"""Settings that contradict the world: known only once it is read."""

from __future__ import annotations

import pytest

from cloudroute.errors import UsageError
from tests.controller.lab import lab


def test_pools_inside_the_vpc_or_the_services_are_refused_together() -> None:
    """Both overlaps are told at once, with the pool and what it overlaps, before anything is written."""
    with lab(cluster_cidr=("10.0.64.0/18", "10.96.0.0/16", "100.64.0.0/16")) as world:
        world.join(0)
        world.changes()
        with pytest.raises(UsageError) as refused:
            world.turn()
        vpc, services = refused.value.problems
        assert "--cluster-cidr 10.0.64.0/18" in vpc
        assert "10.0.0.0/16 of the VPC" in vpc
        assert "--cluster-cidr 10.96.0.0/16" in services
        assert "of the Services" in services
        assert world.changes() == {}
        assert world.pod_cidrs("node-001") == ()


def test_a_route_table_that_is_not_there_is_refused() -> None:
    """A typing error in --route-table must not leave a table without routes and without a word."""
    with lab(route_table=("rtb-00000000000000000",)) as world:
        world.join(0)
        with pytest.raises(UsageError, match="--route-table rtb-00000000000000000: expected a route table of vpc-"):
            world.turn()


def test_cleanup_does_not_mind() -> None:
    """Wrong settings can still be taken away."""
    with lab() as world:
        world.join(0)
        world.run()
        world.start(leave=True, cluster_cidr=("10.96.0.0/16", "100.64.0.0/16"))
        world.run()
        assert all(world.routes(table) == {} for table in world.tables())
        assert world.published() == {}


def test_cleanup_does_not_mind_a_node_whose_cidr_is_in_no_pool() -> None:
    """A controller refuses to start; a cleanup leaves Nodes their CIDRs, whatever they are."""
    with lab(1) as world:
        world.join(0, pod_cidrs=("10.99.0.0/24",))
        world.sync()
        with pytest.raises(UsageError, match=r"10\.99\.0\.0/24"):
            world.loop.check()
        world.start(leave=True).check()
