"""A stopped agent has not heard that a node left the native path: the route stays until an agent runs there again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.draining import ABSENCE_SECONDS
from tests.core.test_make_before_break import turn
from tests.core.test_make_before_break_agents import DRAIN, FINE, STOPPED, Reporting, notices
from tests.core.world import POLICY

TICK = 0.001


def leaving() -> tuple[Reporting, str, str]:
    """Two native nodes; the second one's Node is gone, its instance lives. Their names."""
    world = Reporting()
    sender, leaver = world.join().name, world.join().name
    world.settle()
    del world.nodes[leaver]
    return world, sender, leaver


def routes_after(world: Reporting, seconds: float) -> int:
    """Let time pass; the routes that are left then."""
    turn(world, world.now + seconds)
    return len(world.ours("rtb-a"))


def test_the_route_goes_as_soon_as_the_agent_is_ready_again() -> None:
    world, sender, _ = leaving()
    world.say(sender, STOPPED)
    assert routes_after(world, 0) == 2
    assert routes_after(world, DRAIN) == 2
    assert routes_after(world, DRAIN) == 2
    world.say(sender, FINE)
    assert routes_after(world, 0) == 1


def test_the_plan_says_for_whom_it_waits_and_until_when() -> None:
    """The wait ends by itself: an agent that is gone for good delays nothing for longer."""
    world, sender, leaver = leaving()
    world.say(sender, STOPPED)
    start = world.now
    routes_after(world, 0)
    assert routes_after(world, DRAIN) == 2
    words = f"{leaver} to leave: the agent of {sender} is stopped and has not heard of it"
    plan = world.cycle().plan
    assert (plan.empty, set(plan.waits)) == (True, {(start + ABSENCE_SECONDS, words)})
    world.restart()
    assert {wait.what for wait in world.copy().cycle().plan.waits} == {words}, "what `plan` prints"
    world.carryover = plan.carryover
    turn(world, start + ABSENCE_SECONDS - TICK)
    assert len(world.ours("rtb-a")) == 2
    assert not notices(world.cycle(), "AgentStopped")
    turn(world, start + ABSENCE_SECONDS)
    assert len(world.ours("rtb-a")) == 1
    (notice,) = notices(world.cycle(), "AgentStopped")
    assert (notice.kind, notice.name, notice.warning) == ("Node", sender, True)


def test_a_lowered_limit_waits_too_and_says_so() -> None:
    world = Reporting(replace(POLICY, direct_routing="off"))
    sender = world.join("b").name
    world.join("a")
    last = world.join("a").name
    world.settle()
    world.say(sender, STOPPED)
    world.limit = len(world.tables["rtb-b"].routes) - 1
    turn(world, world.now)
    assert world.spec(last).native_in == ()
    turn(world, world.now + DRAIN)
    (cidr,) = world.spec(last).pod_cidrs
    (wait,) = world.cycle().plan.waits
    assert wait.what == f"the route {cidr} in rtb-b to drain: the agent of {sender} is stopped and has not heard of it"
    assert str(cidr) in world.ours("rtb-b")
    assert str(cidr) not in world.ours("rtb-a"), "nobody who sends by this table is stopped"


def test_an_agent_that_stops_after_the_drain_is_not_waited_for() -> None:
    """It has heard of the change: in an upgrade of a large cluster somebody is always silent."""
    world, sender, _ = leaving()
    routes_after(world, 0)
    world.now += DRAIN
    world.say(sender, STOPPED)
    assert routes_after(world, 0) == 1


def test_an_agent_that_stops_within_the_drain_is_waited_for() -> None:
    """Its word may have been faster than the change that it did not hear of."""
    world, sender, _ = leaving()
    routes_after(world, 0)
    routes_after(world, DRAIN - TICK)
    world.say(sender, STOPPED)
    routes_after(world, 0)
    assert routes_after(world, DRAIN) == 2


def test_an_agent_that_stops_after_the_drain_hides_none_that_stopped_before() -> None:
    world, sender, _ = leaving()
    other = world.join().name
    world.settle()
    assert len(world.ours("rtb-a")) == 2, "the leaver's drain is over"
    leaver = world.join().name
    world.settle()
    del world.nodes[leaver]
    world.say(sender, STOPPED)
    routes_after(world, 0)
    world.now += DRAIN
    world.say(other, STOPPED)
    assert routes_after(world, 0) == 3


@pytest.mark.parametrize("state", ["stopping", "stopped", "terminated"])
def test_an_instance_that_does_not_run_sends_nothing(state: str) -> None:
    world, sender, _ = leaving()
    world.say(sender, STOPPED)
    world.state(world.nodes[sender].instance_id, state)  # type: ignore[arg-type]
    routes_after(world, 0)
    assert routes_after(world, DRAIN) < 2


def test_a_restarted_controller_waits_anew() -> None:
    """The time is lost with its process, never a packet."""
    world, sender, _ = leaving()
    world.say(sender, STOPPED)
    routes_after(world, ABSENCE_SECONDS - 1)
    world.restart()
    routes_after(world, 0)
    assert routes_after(world, ABSENCE_SECONDS - TICK) == 2
    assert routes_after(world, TICK) == 1


def test_cleanup_waits_for_no_agent() -> None:
    """The pods' network ends anyway, and agents may be gone already."""
    world = Reporting()
    sender = world.join().name
    world.settle()
    world.say(sender, STOPPED)
    world.policy = replace(POLICY, leave=True)
    turn(world, world.now)
    turn(world, world.now + DRAIN)
    assert not world.ours("rtb-a")


def test_a_stopped_agent_is_no_news_and_its_node_waits_with_what_is_new() -> None:
    """Of each agent of an upgrade an Event would be said; a kernel that may be damaged is sent nothing new."""
    world = Reporting()
    node = world.join()
    world.settle()
    world.say(node.name, STOPPED)
    world.join("b")
    world.settle()
    assert world.spec(node.name).native_in == ("rtb-a",)
    assert not world.cycle().plan.notices
    world.say(node.name, FINE)
    world.settle()
    assert world.spec(node.name).native_in == ("rtb-a", "rtb-b")
