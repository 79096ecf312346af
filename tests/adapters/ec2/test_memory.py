"""Own writes over stale answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.adapters.ec2.memory import REMEMBER_SECONDS, OwnWrites
from cloudroute.types import Cidr, Instance, Interface, Route, RouteTable

LOADED = settings(deadline=None)  # a machine under load is slow, not wrong
CIDR = Cidr.parse("10.1.0.0/24")
CIDR6 = Cidr.parse("fd00::/80")


def table(**targets: str) -> RouteTable:
    """A table `rtb` with routes given as v4=… and v6=…."""
    destinations = {"v4": CIDR, "v6": CIDR6}
    routes: dict[Cidr | str, Route] = {destinations[k]: Route(destinations[k], t) for k, t in targets.items()}
    return RouteTable("rtb", "vpc", False, (), {}, routes)


def targets(own: OwnWrites, described: RouteTable, now: float) -> dict[str, str]:
    """What we believe of it, as text."""
    (believed,) = own.over_tables([described], now)
    return {str(route.destination): route.target for route in believed}


def instance(*, check: bool) -> Instance:
    return Instance("i-1", "running", "vpc", "a", (Interface("eni-1", 0, "s", check), Interface("eni-2", 1, "s", True)))


def checks(own: OwnWrites, described: Instance, now: float) -> list[bool]:
    return [interface.source_dest_check for interface in own.over_instances({"i-1": described}, now)["i-1"].interfaces]


def test_a_created_route_shows_before_the_api_shows_it() -> None:
    """Routes of both families that a describe does not have yet are there all the same."""
    own = OwnWrites()
    own.created("rtb", CIDR, "eni-1", 0)
    own.created("rtb", CIDR6, "eni-1", 0)
    assert targets(own, table(), 30) == {"10.1.0.0/24": "eni-1", "fd00::/80": "eni-1"}


def test_who_changes_a_route_that_we_have_just_created_is_seen() -> None:
    """Before it there was nothing, so another target can only be newer."""
    own = OwnWrites()
    own.created("rtb", CIDR, "eni-1", 0)
    assert targets(own, table(v4="igw-1"), 1) == {"10.1.0.0/24": "igw-1"}
    assert targets(own, table(), 2) == {}


def test_who_changes_a_route_that_we_have_just_replaced_or_deleted_is_seen() -> None:
    """What is neither ours nor what was there before can only be newer: a gateway's, or none at all."""
    for foreign in ({"v4": "igw-1"}, {}):
        own = OwnWrites()
        assert targets(own, table(v4="eni-1"), 0) == {"10.1.0.0/24": "eni-1"}
        own.replaced("rtb", CIDR, "eni-2", 1)
        assert targets(own, table(v4="eni-1"), 2) == {"10.1.0.0/24": "eni-2"}, "as it was before"
        believed = {str(CIDR): target for target in foreign.values()}
        assert targets(own, table(**foreign), 3) == believed
        assert targets(own, table(v4="eni-1"), 4) == {"10.1.0.0/24": "eni-1"}, "nothing is remembered any more"
    own = OwnWrites()
    targets(own, table(v4="eni-1"), 0)
    own.deleted("rtb", CIDR, 1)
    assert targets(own, table(v4="eni-1"), 2) == {}
    assert targets(own, table(v4="igw-1"), 3) == {"10.1.0.0/24": "igw-1"}


def test_a_deleted_route_is_gone_before_the_api_drops_it() -> None:
    """A route that was deleted does not come back with a stale describe."""
    own = OwnWrites()
    own.deleted("rtb", CIDR, 0)
    assert targets(own, table(v4="eni-1"), 30) == {}


def test_a_route_that_was_created_and_deleted_stays_away_though_the_api_shows_each_state_late() -> None:
    """Before the first write it was absent, too: an answer without it does not prove the second."""
    own = OwnWrites()
    assert targets(own, table(), 0) == {}
    own.created("rtb", CIDR, "eni-1", 1)
    own.deleted("rtb", CIDR, 2)
    assert targets(own, table(), 3) == {}, "as it was before the creation"
    assert targets(own, table(v4="eni-1"), 4) == {}, "as it was before the deletion"


def test_a_replaced_route_has_its_new_target() -> None:
    """A stale describe does not bring the old target back, nor its blackhole."""
    own = OwnWrites()
    own.replaced("rtb", CIDR, "eni-2", 0)
    stale = RouteTable("rtb", "vpc", False, (), {}, {CIDR: Route(CIDR, "eni-1", blackhole=True)})
    (believed,) = own.over_tables([stale], 30)
    assert believed.routes == {CIDR: Route(CIDR, "eni-2")}


def test_a_write_is_of_its_own_table() -> None:
    """A route made in one table does not show in another."""
    own = OwnWrites()
    own.replaced("another", CIDR, "eni-1", 0)
    assert targets(own, table(), 1) == {}


def test_what_others_do_after_the_api_showed_ours_is_seen_at_once() -> None:
    """A foreign deletion, or another target, counts as soon as our write was shown once."""
    own = OwnWrites()
    own.replaced("rtb", CIDR, "eni-1", 0)
    assert targets(own, table(v4="eni-1"), 1) == {"10.1.0.0/24": "eni-1"}
    assert targets(own, table(v4="eni-foreign"), 2) == {"10.1.0.0/24": "eni-foreign"}
    assert targets(own, table(), 3) == {}


def test_after_a_minute_the_api_is_believed() -> None:
    """A write that never shows is not insisted upon."""
    own = OwnWrites()
    own.replaced("rtb", CIDR, "eni-1", 0)
    own.check_disabled("eni-1", 0)
    assert targets(own, table(), 59.9) == {"10.1.0.0/24": "eni-1"}
    assert targets(own, table(), 60) == {}
    assert checks(own, instance(check=True), 59.9) == [False, True]
    assert checks(own, instance(check=True), 60) == [True, True]


def test_a_contradicted_write_is_forgotten() -> None:
    """Once a write was refused because the route is another one, the describe is believed."""
    own = OwnWrites()
    own.deleted("rtb", CIDR, 0)
    own.contradicted("rtb", CIDR)
    assert targets(own, table(v4="eni-foreign"), 1) == {"10.1.0.0/24": "eni-foreign"}


def test_a_blackhole_of_our_own_target_is_seen() -> None:
    """The route that shows with our target keeps the state that the API gives it."""
    own = OwnWrites()
    own.replaced("rtb", CIDR, "eni-1", 0)
    (believed,) = own.over_tables(
        [RouteTable("rtb", "vpc", False, (), {}, {CIDR: Route(CIDR, "eni-1", blackhole=True)})], 1
    )
    assert believed.routes[CIDR].blackhole


def test_a_check_that_was_switched_off_stays_off() -> None:
    """A stale describe does not show the check on again, until a fresh one has shown it off."""
    own = OwnWrites()
    own.check_disabled("eni-1", 0)
    assert checks(own, instance(check=True), 1) == [False, True]
    assert checks(own, instance(check=False), 2) == [False, True]
    assert checks(own, instance(check=True), 3) == [True, True]


@dataclass
class History:
    """One route over time as EC2 holds it, and a reader that sees the past, but never goes back in it."""

    own: OwnWrites = field(default_factory=OwnWrites)
    now: float = 0.0
    changes: list[tuple[float, str]] = field(default_factory=lambda: [(-1000.0, "")])
    view: float = -1000.0

    @property
    def target(self) -> str:
        return self.changes[-1][1]

    def write(self, target: str) -> None:
        """We write; "" is a delete."""
        self.changes.append((self.now, target))
        if target:
            self.own.replaced("rtb", CIDR, target, self.now)
        else:
            self.own.deleted("rtb", CIDR, self.now)

    def describe(self, lag: float) -> str:
        """What we believe after a describe that shows the world as it was `lag` seconds ago."""
        self.view = max(self.view, self.now - lag)
        shown = next(target for at, target in reversed(self.changes) if at <= self.view)
        return targets(self.own, table(v4=shown) if shown else table(), self.now).get(str(CIDR), "")


STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 5, 20, 40]),  # seconds that pass
        st.sampled_from(["", "eni-1", "eni-2", None]),  # what we write then, if anything
        st.sampled_from([0, 1, 2, 3, 10, 30, REMEMBER_SECONDS - 1]),  # how stale the describe is that follows
    ),
    max_size=30,
)


@LOADED
@given(steps=STEPS, before=st.sampled_from(["", "eni-1"]))
def test_stale_answers_never_lose_an_own_write(steps: list[tuple[float, str | None, float]], before: str) -> None:
    """Whatever we wrote and however stale the answers of up to a minute are, what we believe is what EC2 holds."""
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
    """However many stale answers came before, the first that shows our write ends the memory of it."""
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
def test_a_foreign_target_is_seen_by_the_first_answer_that_shows_it(
    steps: list[tuple[float, str | None, float]], before: str
) -> None:
    """Whatever we wrote, and whether any answer has shown it."""
    history = History(changes=[(-1000.0, before)])
    history.describe(0)
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
    """Whatever we wrote before, what EC2 holds a minute after our last write is what we believe."""
    history = History()
    for seconds, target, lag in steps:
        history.now += seconds
        if target is not None and target != history.target:
            history.write(target)
        history.describe(lag)
    history.now += REMEMBER_SECONDS
    history.changes.append((history.now, foreign))
    assert history.describe(0) == foreign
