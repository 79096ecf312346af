"""Own writes over stale describes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.cluster.pending import PENDING_SECONDS, KnownInstances, KnownTables
from cloudroute.types import Cidr, Instance, Interface, Route, RouteTable

LOADED = settings(deadline=None)  # a machine under load is slow, not wrong
CIDR = Cidr.parse("10.1.0.0/24")
CIDR6 = Cidr.parse("fd00::/80")


def table_with(id_: str, *routes: Route) -> RouteTable:
    return RouteTable(
        id=id_, vpc_id="vpc", main=False, subnet_ids=(), tags={}, routes={route.destination: route for route in routes}
    )


OTHER = table_with("other")


def table(**targets: str) -> RouteTable:
    """A table `rtb` with routes given as v4=… and v6=…."""
    destinations = {"v4": CIDR, "v6": CIDR6}
    return table_with("rtb", *(Route(destinations[key], target) for key, target in targets.items()))


def known(**targets: str) -> KnownTables:
    """That table as first described at 0 s, beside an empty one."""
    tables = KnownTables()
    tables.describe([table(**targets), OTHER], 0)
    return tables


def routes(tables: KnownTables) -> dict[str, str]:
    """Destination -> target in `rtb`, as text."""
    return {str(route.destination): route.target for route in tables.current["rtb"]}


def described(tables: KnownTables, shown: RouteTable, now: float) -> dict[str, str]:
    """The routes of `rtb` after a describe."""
    tables.describe([shown, OTHER], now)
    return routes(tables)


def instance(*, check: bool) -> Instance:
    return Instance(
        id="i-1",
        state="running",
        vpc_id="vpc",
        zone="a",
        interfaces=(
            Interface("eni-1", 0, "s", source_dest_check=check),
            Interface("eni-2", 1, "s", source_dest_check=True),
        ),
    )


def checks(instances: KnownInstances, shown: Instance, now: float) -> list[bool]:
    """The source/dest checks of i-1 after a describe."""
    instances.describe({"i-1": shown}, now)
    return [interface.source_dest_check for interface in instances.current["i-1"].interfaces]


def test_a_created_route_shows_before_a_describe_shows_it() -> None:
    """Routes of both families are there at once, and still after a describe without them."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.write("rtb", CIDR6, "eni-1", 0)
    both = {"10.1.0.0/24": "eni-1", "fd00::/80": "eni-1"}
    assert routes(tables) == both
    assert described(tables, table(), 30) == both


def test_a_change_of_a_route_that_we_have_just_created_is_seen() -> None:
    """Before it there was nothing, so another target can only be newer."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    assert described(tables, table(v4="igw-1"), 1) == {"10.1.0.0/24": "igw-1"}
    assert described(tables, table(), 2) == {}


def test_a_change_of_a_route_that_we_have_just_replaced_or_deleted_is_seen() -> None:
    """A target that is neither ours nor the earlier one can only be newer: a gateway's, or none at all."""
    for foreign in ({"v4": "igw-1"}, {}):
        tables = known(v4="eni-1")
        tables.write("rtb", CIDR, "eni-2", 1)
        assert described(tables, table(v4="eni-1"), 2) == {"10.1.0.0/24": "eni-2"}, "as it was before"
        expected = {str(CIDR): target for target in foreign.values()}
        assert described(tables, table(**foreign), 3) == expected
        assert described(tables, table(v4="eni-1"), 4) == {"10.1.0.0/24": "eni-1"}, "nothing is pending any more"
    tables = known(v4="eni-1")
    tables.write("rtb", CIDR, None, 1)
    assert described(tables, table(v4="eni-1"), 2) == {}
    assert described(tables, table(v4="igw-1"), 3) == {"10.1.0.0/24": "igw-1"}


def test_a_deleted_route_is_gone_before_a_describe_drops_it() -> None:
    """A route that was deleted does not come back with a stale describe."""
    tables = known(v4="eni-1")
    tables.write("rtb", CIDR, None, 0)
    assert routes(tables) == {}
    assert described(tables, table(v4="eni-1"), 30) == {}


def test_a_route_that_was_created_and_deleted_stays_away_however_late_describes_are() -> None:
    """Before the first write the route was absent, too: a describe without it does not prove the second."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 1)
    tables.write("rtb", CIDR, None, 2)
    assert described(tables, table(), 3) == {}, "as it was before the creation"
    assert described(tables, table(v4="eni-1"), 4) == {}, "as it was before the deletion"


def test_a_describe_may_show_any_state_before_three_pending_writes() -> None:
    """Created, deleted and created again: the first target is no change by another program."""
    tables = known()
    for now, target in enumerate(("eni-1", None, "eni-2"), 1):
        tables.write("rtb", CIDR, target, now)
    for now, stale in enumerate((table(), table(v4="eni-1"), table()), 4):
        assert described(tables, stale, now) == {"10.1.0.0/24": "eni-2"}


def test_a_replaced_route_has_its_new_target() -> None:
    """A stale describe does not bring the old target back, nor its blackhole."""
    stale = table_with("rtb", Route(CIDR, "eni-1", blackhole=True))
    tables = KnownTables()
    tables.describe([stale], 0)
    tables.write("rtb", CIDR, "eni-2", 0)
    assert tables.current["rtb"].routes == {CIDR: Route(CIDR, "eni-2")}
    tables.describe([stale], 30)
    assert tables.current["rtb"].routes == {CIDR: Route(CIDR, "eni-2")}


def test_a_write_is_of_its_own_table() -> None:
    """A route made in one table does not show in another."""
    tables = known()
    tables.write("other", CIDR, "eni-1", 0)
    assert described(tables, table(), 1) == {}
    assert tables.current["other"].routes[CIDR].target == "eni-1"


def test_a_table_that_is_gone_is_not_brought_back_by_a_pending_write() -> None:
    """The describe lists all tables."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.describe([OTHER], 1)
    assert list(tables.current) == ["other"]


def test_later_changes_by_others_are_seen_at_once() -> None:
    """A foreign deletion, or another target, counts as soon as our write was shown once."""
    tables = known(v4="eni-0")
    tables.write("rtb", CIDR, "eni-1", 0)
    assert described(tables, table(v4="eni-1"), 1) == {"10.1.0.0/24": "eni-1"}
    assert described(tables, table(v4="eni-0"), 2) == {"10.1.0.0/24": "eni-0"}
    assert described(tables, table(), 3) == {}


def test_a_later_change_back_to_a_value_before_two_writes_is_seen_at_once() -> None:
    """The second target was never there before, so the describe that shows it proves both writes."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.write("rtb", CIDR, "eni-2", 1)
    assert described(tables, table(v4="eni-2"), 2) == {"10.1.0.0/24": "eni-2"}
    assert described(tables, table(v4="eni-1"), 3) == {"10.1.0.0/24": "eni-1"}


def test_a_stale_describe_after_a_minute_without_any_does_not_hide_the_next_write() -> None:
    """The first write is not pending any more, but its target is what a stale describe shows."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.write("rtb", CIDR, "eni-2", 61)
    assert described(tables, table(v4="eni-1"), 62) == {"10.1.0.0/24": "eni-2"}


def test_a_second_deletion_that_finds_nothing_leaves_the_first_provable() -> None:
    """A describe without the route proves both, and a route that another program then makes is seen."""
    tables = known(v4="eni-1")
    tables.write("rtb", CIDR, None, 0)
    tables.write("rtb", CIDR, None, 1)
    assert described(tables, table(), 2) == {}
    assert described(tables, table(v4="eni-1"), 3) == {"10.1.0.0/24": "eni-1"}


def test_after_a_minute_the_describe_counts() -> None:
    """A write that never shows is not insisted upon."""
    tables, instances = known(), KnownInstances()
    tables.write("rtb", CIDR, "eni-1", 0)
    instances.disable_check("i-1", "eni-1", 0)
    assert described(tables, table(), 59.9) == {"10.1.0.0/24": "eni-1"}
    assert described(tables, table(), 60) == {}
    assert checks(instances, instance(check=True), 59.9) == [False, True]
    assert checks(instances, instance(check=True), 60) == [True, True]


def test_after_a_refused_creation_a_describe_of_its_target_counts() -> None:
    """The route of an earlier attempt, whose answer was lost, is there although we had deleted the same before."""
    tables = known(v4="eni-1")
    tables.write("rtb", CIDR, None, 0)
    tables.contradict("rtb", CIDR, "eni-1")
    assert described(tables, table(v4="eni-1"), 1) == {"10.1.0.0/24": "eni-1"}


def test_after_a_refused_creation_a_deleted_route_does_not_come_back() -> None:
    """The route that exists may be another program's: a stale describe of the deleted one must not have it replaced."""
    tables = known(v4="eni-1")
    tables.write("rtb", CIDR, None, 0)
    tables.contradict("rtb", CIDR, "eni-2")
    assert described(tables, table(v4="eni-1"), 1) == {}
    assert described(tables, table(v4="igw-1"), 2) == {"10.1.0.0/24": "igw-1"}


def test_after_a_refused_replacement_a_describe_without_the_route_counts() -> None:
    """Another program has deleted the route that we had just created."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.contradict("rtb", CIDR, None)
    assert described(tables, table(), 1) == {}


def test_a_refusal_for_a_route_without_a_pending_write_changes_nothing() -> None:
    """There, every describe counts anyway."""
    tables = known(v4="eni-1")
    tables.contradict("rtb", CIDR, "eni-2")
    assert described(tables, table(v4="eni-1"), 1) == {"10.1.0.0/24": "eni-1"}


def test_a_blackhole_of_our_own_target_is_seen() -> None:
    """The route that shows with our target keeps the state that the describe gives it."""
    tables = known()
    tables.write("rtb", CIDR, "eni-1", 0)
    tables.describe([table_with("rtb", Route(CIDR, "eni-1", blackhole=True))], 1)
    assert tables.current["rtb"].routes[CIDR].blackhole


def test_a_check_that_was_switched_off_stays_off() -> None:
    """A stale describe does not show the check on again, until a fresh one has shown it off."""
    instances = KnownInstances()
    instances.describe({"i-1": instance(check=True)}, 0)
    instances.disable_check("i-1", "eni-1", 0)
    assert not instances.current["i-1"].interfaces[0].source_dest_check
    assert checks(instances, instance(check=True), 1) == [False, True]
    assert checks(instances, instance(check=False), 2) == [False, True]
    assert checks(instances, instance(check=True), 3) == [True, True]


def test_a_check_stays_off_though_its_instance_was_forgotten_or_not_described() -> None:
    """A describe of other instances, or of none, tells nothing about the write."""
    instances = KnownInstances()
    instances.disable_check("i-1", "eni-1", 0)
    instances.forget(["i-1"])
    instances.describe({}, 1)
    assert instances.current == {}
    assert checks(instances, instance(check=True), 2) == [False, True]


@dataclass
class History:
    """One route over time as EC2 holds it, and a reader that sees the past, but never goes back in it."""

    tables: KnownTables = field(default_factory=KnownTables)
    now: float = 0.0
    changes: list[tuple[float, str]] = field(default_factory=lambda: [(-1000.0, "")])
    view: float = -1000.0

    def __post_init__(self) -> None:
        self.describe(1000.0)

    @property
    def target(self) -> str:
        return self.changes[-1][1]

    def write(self, target: str) -> None:
        """We write; "" is a delete."""
        self.changes.append((self.now, target))
        self.tables.write("rtb", CIDR, target or None, self.now)

    def describe(self, lag: float) -> str:
        """The target that is known after a describe that shows the world as it was `lag` seconds ago."""
        self.view = max(self.view, self.now - lag)
        shown = next(target for at, target in reversed(self.changes) if at <= self.view)
        return described(self.tables, table(v4=shown) if shown else table(), self.now).get(str(CIDR), "")


STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 5, 20, 40]),  # seconds that pass
        st.sampled_from(["", "eni-1", "eni-2", None]),  # what we write then, if anything
        st.sampled_from([0, 1, 2, 3, 10, 30, PENDING_SECONDS - 1]),  # how stale the describe is that follows
    ),
    max_size=30,
)


@LOADED
@given(steps=STEPS, before=st.sampled_from(["", "eni-1"]))
def test_stale_describes_never_lose_an_own_write(steps: list[tuple[float, str | None, float]], before: str) -> None:
    """After any writes and describes that are stale by less than a minute, the known target is the one EC2 holds."""
    history = History(changes=[(-1000.0, before)])
    for seconds, target, lag in steps:
        history.now += seconds
        if target is not None and target != history.target:
            history.write(target)
        assert history.describe(lag) == history.target


@LOADED
@given(
    lags=st.lists(st.floats(0, 20), max_size=10),
    write=st.sampled_from(["", "eni-2"]),
    foreign=st.sampled_from(["", "eni-foreign", "eni-1"]),
)
def test_a_foreign_change_is_seen_once_ours_was_shown(lags: list[float], write: str, foreign: str) -> None:
    """After any number of stale describes, the first that shows our write makes it a thing of the past."""
    history = History(changes=[(-1000.0, "eni-1")], now=30)
    history.write(write)
    for lag in [*lags, 0.0]:
        history.now += 1
        assert history.describe(lag) == write
    history.now += 1
    history.changes.append((history.now, foreign))
    assert history.describe(0) == foreign


@LOADED
@given(steps=STEPS, before=st.sampled_from(["", "eni-1"]))
def test_a_foreign_target_is_seen_by_the_first_describe_that_shows_it(
    steps: list[tuple[float, str | None, float]], before: str
) -> None:
    """After any writes of ours, shown or not."""
    history = History(changes=[(-1000.0, before)])
    for seconds, target, lag in steps:
        history.now += seconds
        if target is not None and target != history.target:
            history.write(target)
        history.describe(lag)
    history.now += 1
    history.changes.append((history.now, "eni-foreign"))
    assert history.describe(0) == "eni-foreign"


@LOADED
@given(steps=STEPS, foreign=st.sampled_from(["", "eni-foreign"]))
def test_a_foreign_change_is_seen_after_a_minute_in_any_case(
    steps: list[tuple[float, str | None, float]], foreign: str
) -> None:
    """A minute after our last write the known target is the one that EC2 holds."""
    history = History()
    for seconds, target, lag in steps:
        history.now += seconds
        if target is not None and target != history.target:
            history.write(target)
        history.describe(lag)
    history.now += PENDING_SECONDS
    history.changes.append((history.now, foreign))
    assert history.describe(0) == foreign
