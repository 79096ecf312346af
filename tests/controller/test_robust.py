"""Defects that reviews of the code have found."""

from __future__ import annotations

from tests.controller.lab import lab


def test_a_node_that_ec2_never_knew_leaves_nothing_behind() -> None:
    """Its instance is not asked for any more, and the loop rests until the resync."""
    with lab() as world:
        world.join(0)
        world.run()
        world.join(0, name="ghost", provider_id="aws:///eu-central-1a/i-0123456789abcdef0")
        world.turn()
        world.kube.delete("nodes", "ghost")
        world.clock.time += 2
        world.run()
        assert world.turn().next_at > world.clock.time + 1


def test_a_quota_that_cannot_be_read_after_a_restart_takes_no_route() -> None:
    """The limit of before holds on until Service Quotas answers, and is asked for again at the next resync."""
    with lab(one_table=True, route_limit="auto", aws={"route_quota": 80}) as world:
        world.join_many(60)
        world.run()
        before = world.routes(world.table())
        assert len(before) == 60
        for action in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
            world.aws.faults.fail(action, "RequestLimitExceeded", times=None)
        world.start()
        world.pass_seconds(90)
        assert world.routes(world.table()) == before
        assert world.loop.reader.cache.limit == 80
        assert {reason for _, reason in filter(None, world.conditions().values())} == {"RouteCreated"}
        world.aws.faults.clear()
        world.aws.reset_calls()
        world.pass_seconds(90)
        assert world.aws.calls["GetAWSDefaultServiceQuota", "OK"] == 1


def test_a_quota_that_cannot_be_read_takes_no_route_though_nothing_says_what_it_was() -> None:
    """A table that holds more than every account's quota proves that this account's is higher."""
    with lab(one_table=True, route_limit="auto", aws={"route_quota": 80}) as world:
        gateway = world.gateway()
        for number in range(48):
            world.foreign(world.table(), f"172.16.{number}.0/24", GatewayId=gateway)
        world.join_many(6)
        world.run()
        before = world.routes(world.table())
        assert len(before) == 54
        world.stop()
        world.kube.delete("routetables", world.table())
        for action in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
            world.aws.faults.fail(action, "RequestLimitExceeded", times=None)
        world.start()
        world.pass_seconds(30)
        assert world.routes(world.table()) == before


def test_a_program_that_undoes_our_writes_is_not_fought_at_full_speed() -> None:
    """Another controller sets the condition back each time: we say it again ever more seldom."""
    with lab() as world:
        name = world.join(0)
        world.run()
        world.writes()
        other = {"type": "NetworkUnavailable", "status": "True", "reason": "SomebodyElse", "message": "mine"}
        start = world.clock.time
        while world.clock.time < start + 60:
            world.kube.patch_status("nodes", name, {"conditions": [other]})
            turn = world.turn()
            world.clock.time = max(turn.next_at, world.clock.time + 0.01)
        assert world.writes()["patch", "nodes/status"] <= 8


def test_a_route_that_somebody_has_taken_meanwhile_is_not_deleted() -> None:
    """Between two resyncs somebody points a pod route at a gateway; the node goes, and the route stays theirs."""
    with lab(1) as world:
        name = world.join(0)
        world.join(0)
        world.run()
        (cidr,) = world.pod_cidrs(name)
        gateway = world.gateway()
        world.aws.scene.ec2.replace_route(RouteTableId=world.table(), DestinationCidrBlock=cidr, GatewayId=gateway)
        world.kube.delete("nodes", name)
        world.run()
        assert world.routes(world.table())[cidr] == gateway
        assert name not in world.published()


def test_an_unreadable_prefix_list_stops_nobody() -> None:
    """A routed list that can't be described counts as one entry, and new nodes get their network."""
    with lab(one_table=True) as world:
        world.join(0)
        world.run()
        entries = [{"Cidr": "192.0.2.0/24"}]
        made = world.aws.scene.ec2.create_managed_prefix_list(
            PrefixListName="x", MaxEntries=5, AddressFamily="IPv4", Entries=entries
        )["PrefixList"]
        world.aws.scene.ec2.create_route(
            RouteTableId=world.table(), DestinationPrefixListId=made["PrefixListId"], GatewayId=world.gateway()
        )
        world.aws.faults.fail("DescribeManagedPrefixLists", "UnauthorizedOperation", times=None)
        world.pass_seconds(70)
        late = world.join(1)
        world.pass_seconds(5)
        assert world.condition(late) == ("False", "RouteCreated")
