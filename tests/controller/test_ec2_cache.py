"""The cache of EC2 after reads, own writes and refusals, and the time of its next read."""

from __future__ import annotations

from collections import Counter

import pytest

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.controller.ec2_cache import Ec2Cache
from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck
from cloudroute.errors import LimitExceeded, LostRace
from cloudroute.lab.aws.scene import Machine, Vpc
from cloudroute.types import Cidr, Subnet
from tests.adapters.ec2.kit import Kit

V4 = Cidr.parse("10.100.1.0/24")
RESYNC = 10.0


class Known:
    """A VPC with one table and one machine, and a cache that has read them."""

    def __init__(self) -> None:
        self.kit = Kit()
        self.vpc: Vpc = self.kit.aws.scene.vpc(zones=1)
        self.table_id = self.vpc.zones[0].route_table_id
        self.machine: Machine = self.kit.aws.scene.launch(self.vpc.zones[0])[0]
        self.wanted = {self.machine.id}
        self.kit.clock.sleep(100)
        self.cache = cache_of(self.kit.ec2, self.kit, self.vpc.id)
        self.refresh()
        self.kit.calls()

    def refresh(self, after: float = 0.0) -> None:
        self.kit.clock.sleep(after)
        self.cache.refresh(self.wanted)

    def reads(self, seconds: int) -> dict[str, int]:
        """Reads in so many seconds, if the loop looks each second."""
        self.kit.calls()
        for _ in range(seconds):
            self.refresh(1)
        return self.kit.calls()

    def create(self) -> None:
        self.kit.ec2.create_route(self.table_id, V4, self.machine.interface_id)
        self.cache.succeeded(ChangeRoute("create", self.table_id, V4, self.machine.interface_id, ""))

    def delete(self) -> None:
        self.kit.ec2.delete_route(self.table_id, V4)
        self.cache.succeeded(ChangeRoute("delete", self.table_id, V4, "", ""))

    def disable_check(self) -> None:
        self.kit.ec2.disable_source_dest_check(self.machine.interface_id)
        self.cache.succeeded(DisableSourceDestCheck(self.machine.interface_id, self.machine.id, "node", self.table_id))

    @property
    def target(self) -> str:
        """Target of the route to V4; "" without one."""
        route = self.cache.tables[self.table_id].routes.get(V4)
        return route.target if route else ""

    @property
    def checked(self) -> bool:
        primary = self.cache.instances[self.machine.id].primary
        assert primary
        return primary.source_dest_check


def cache_of(ec2: Ec2Client, kit: Kit, vpc_id: str, resync_seconds: float = RESYNC) -> Ec2Cache:
    return Ec2Cache(ec2, kit.clock, vpc_id=vpc_id, limit=50, resync_seconds=resync_seconds, own_vpc=lambda: "")


def test_stale_describes_do_not_hide_own_writes() -> None:
    """While every describe shows the state of 30 s ago, the route is there and the check off."""
    known = Known()
    known.kit.aws.faults.stale(30)
    known.create()
    known.disable_check()
    assert (known.target, known.checked) == (known.machine.interface_id, False)
    for _ in range(4):
        known.refresh(after=RESYNC)
        assert (known.target, known.checked) == (known.machine.interface_id, False)
    known.kit.aws.scene.ec2.delete_route(RouteTableId=known.table_id, DestinationCidrBlock=str(V4))
    known.refresh(after=31)
    assert known.target == ""
    assert known.kit.calls()["DescribeRouteTables"] == 5


def test_a_refusal_that_contradicts_an_own_write_ends_it() -> None:
    """RouteAlreadyExists after our deletion: another program made the route again, and the next read shows it."""
    known = Known()
    known.create()
    known.refresh(after=RESYNC)
    known.delete()
    route = {"DestinationCidrBlock": str(V4), "NetworkInterfaceId": known.machine.interface_id}
    known.kit.aws.scene.ec2.create_route(RouteTableId=known.table_id, **route)
    known.refresh(after=RESYNC)
    assert known.target == "", "as before our deletion: the describe may be stale"
    with pytest.raises(LostRace) as refused:
        known.kit.ec2.create_route(known.table_id, V4, known.machine.interface_id)
    step = ChangeRoute("create", known.table_id, V4, known.machine.interface_id, "")
    known.kit.calls()
    known.cache.failed(step, refused.value, known.machine.id)
    known.refresh()
    assert known.target == known.machine.interface_id
    assert known.kit.calls() == {"DescribeRouteTables": 1, "DescribeInstances": 1}


def test_a_fresh_cache_knows_no_own_writes() -> None:
    """After a restart the describes count: until they show the former process's writes, these are made again."""
    known = Known()
    known.create()
    known.kit.aws.faults.stale(30)
    fresh = cache_of(known.kit.ec2, known.kit, known.vpc.id)
    fresh.refresh(known.wanted)
    assert V4 not in fresh.tables[known.table_id].routes


def test_an_unknown_instance_is_asked_for_ever_more_seldom() -> None:
    """After 1, 2, 4 and 8 s beside the resyncs; a second one is asked for at once, and neither once unwanted."""
    known = Known()
    known.cache = cache_of(known.kit.ec2, known.kit, known.vpc.id, resync_seconds=60)
    known.wanted |= {"i-0123456789abcdef0"}
    known.refresh()
    assert known.reads(16) == {"DescribeInstances": 4}
    known.wanted |= {"i-0123456789abcdef1"}
    assert known.reads(1) == {"DescribeInstances": 1}
    known.wanted = {known.machine.id}
    assert known.reads(16) == {}


def test_an_unknown_subnet_is_asked_for_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 1, 2, 4 and 8 s beside the hourly read, while an association names a subnet that EC2 does not show."""
    known = Known()
    asked = Counter[str]()

    def subnets(vpc_id: str) -> dict[str, Subnet]:
        asked[vpc_id] += 1
        return {}

    monkeypatch.setattr(known.kit.ec2, "subnets", subnets)
    known.cache = cache_of(known.kit.ec2, known.kit, known.vpc.id, resync_seconds=60)
    known.refresh()
    known.reads(16)
    assert asked == {known.vpc.id: 5}


def test_a_doubted_instance_is_read_again_once_per_resync() -> None:
    """With the tables, since its routes may be dead."""
    known = Known()
    known.cache = cache_of(known.kit.ec2, known.kit, known.vpc.id, resync_seconds=60)
    known.refresh()
    known.kit.calls()
    for _ in range(3):
        known.cache.doubt([known.machine.id])
        known.refresh(after=1)
    assert known.kit.calls() == {"DescribeRouteTables": 1, "DescribeInstances": 1}


def test_an_instance_may_be_doubted_again_after_a_resync() -> None:
    """Its Node may have become another instance once more."""
    known = Known()
    for _ in range(2):
        known.refresh(after=RESYNC)
        known.kit.calls()
        known.cache.doubt([known.machine.id])
        known.refresh(after=1)
        assert known.kit.calls() == {"DescribeRouteTables": 1, "DescribeInstances": 1}


def test_an_instance_that_a_resync_does_not_show_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last state proves nothing any more."""
    known = Known()
    monkeypatch.setattr(known.kit.ec2, "instances", lambda _ids: {})
    known.refresh(after=RESYNC - 1)
    assert known.cache.instances.keys() == {known.machine.id}
    known.refresh(after=1)
    assert known.cache.instances == {}


def test_no_read_is_due_for_an_instance_that_is_not_wanted_any_more() -> None:
    """A time of the past would have the loop run without a rest."""
    known = Known()
    known.wanted |= {"i-0123456789abcdef0"}
    known.refresh()
    assert known.cache.next_due < known.cache.next_resync
    known.wanted = {known.machine.id}
    known.refresh(after=RESYNC)
    assert known.cache.next_due == known.cache.next_resync


def test_no_read_is_due_for_a_subnet_that_is_shown_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""
    known = Known()
    shown = known.cache.subnets
    known.cache = cache_of(known.kit.ec2, known.kit, known.vpc.id)
    monkeypatch.setattr(known.kit.ec2, "subnets", lambda _vpc_id: {})
    known.refresh()
    assert known.cache.next_due < known.cache.next_resync
    monkeypatch.setattr(known.kit.ec2, "subnets", lambda _vpc_id: shown)
    known.refresh(after=RESYNC)
    assert known.cache.next_due == known.cache.next_resync


def test_a_full_table_is_read_again_and_no_instance() -> None:
    """The node is as it was."""
    known = Known()
    step = ChangeRoute("create", known.table_id, V4, known.machine.interface_id, "")
    known.cache.failed(
        step, LimitExceeded("CreateRoute", known.table_id, "RouteLimitExceeded", "full"), known.machine.id
    )
    known.refresh()
    assert known.kit.calls() == {"DescribeRouteTables": 1}
    assert known.cache.refused == {(known.table_id, "ipv4")}
