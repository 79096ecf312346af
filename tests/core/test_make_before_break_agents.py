"""An agent's report holds its node back from native, and never withdraws it; a live node's withdrawal is reported."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.cluster.model import Step, WriteNodeRoute
from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.cluster.planner import Decision, decide
from cloudroute.types import Notice
from tests.core.invariants import check_always, check_settled
from tests.core.test_make_before_break import turn
from tests.core.test_properties import outcome
from tests.core.world import DUAL, POLICY, World, none_fails

SETTLE, DRAIN = POLICY.settle_seconds, POLICY.drain_seconds
FAILED: dict[str, object] = {"ready": False, "reason": "KernelFailed", "message": "no nftables: install it"}
STOPPED: dict[str, object] = {"ready": False, "reason": "AgentStopped", "message": "its pods go on"}
FINE: dict[str, object] = {"ready": True, "reason": "Ready", "message": ""}
SAYINGS: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, FINE, FAILED, STOPPED, {"ready": False}, {"ready": False, "reason": "PeersFailed"}]
)


@dataclass
class Reporting(World):
    """A world whose NodeRoutes keep their agents' words and count the versions of their spec, as Kubernetes does."""

    def _write_record(self, step: WriteNodeRoute) -> None:
        old = self.records.get(step.name)
        super()._write_record(step)
        status, generation = (old.status, old.generation + 1) if old else ({}, 1)
        self.records[step.name] = replace(self.records[step.name], status=status, generation=generation)

    def say(self, name: str, status: dict[str, object]) -> None:
        """The agent of a node writes its status."""
        self.records[name] = replace(self.records[name], status=status)


def notices(decision: Decision, reason: str) -> list[Notice]:
    """Notices with a reason."""
    return [notice for notice in decision.plan.notices if notice.reason == reason]


# --- what holds back ----------------------------------------------------------------------------


def test_a_node_becomes_native_the_moment_its_agent_is_ready() -> None:
    """Its routes settle meanwhile; nothing is waited for by time; a notice says why it is not native yet."""
    world = Reporting()
    node = world.join()
    turn(world, 1000)
    world.say(node.name, FAILED)
    for seconds in (0, SETTLE, 100 * SETTLE):
        turn(world, 1000 + seconds)
        assert (world.spec(node.name).native_in, world.spec(node.name).subnet_id) == ((), "")
    decision = world.cycle()
    assert (decision.plan.empty, decision.plan.waits) == (True, ())
    (notice,) = notices(decision, "AgentNotReady")
    assert (notice.kind, notice.name, notice.uid, notice.warning) == ("Node", node.name, node.uid, True)
    assert notice.message == (
        "not native from rtb-a yet: it will be when its agent is ready, which says "
        "KernelFailed: no nftables: install it"
    )
    world.say(node.name, FINE)
    decision = world.cycle()
    assert (world.spec(node.name).native_in, world.spec(node.name).subnet_id) == (("rtb-a",), "subnet-a")
    assert not decision.plan.notices
    check_settled(world)


def test_a_node_that_is_only_ever_direct_waits_for_its_agent_too() -> None:
    """Others would send past the overlay as well."""
    world = Reporting(replace(POLICY, direct_routing="always"), "a")
    node = world.join()
    turn(world, 1000)
    world.say(node.name, FAILED)
    turn(world, 1000 + SETTLE)
    assert world.spec(node.name).subnet_id == ""
    (notice,) = notices(world.cycle(), "AgentNotReady")
    assert notice.message.startswith("not direct yet: ")
    world.say(node.name, FINE)
    world.settle()
    assert world.spec(node.name).subnet_id == "subnet-a"


@pytest.mark.parametrize("status", [{}, FINE, {"ready": None}, {"ready": False, "reason": "PeersFailed"}])
def test_no_word_and_what_concerns_only_others_count_as_ready(status: dict[str, object]) -> None:
    """No agent, an older agent, or one that can't send to some peers: the node is native after settling."""
    world = Reporting()
    node = world.join()
    turn(world, 1000)
    world.say(node.name, status)
    turn(world, 1000 + SETTLE)
    assert world.spec(node.name).native_in == ("rtb-a",)


def test_nothing_is_said_of_an_agent_that_is_ready_before_its_routes_have_settled() -> None:
    """Every agent starts so: that is no news."""
    world = Reporting()
    node = world.join()
    turn(world, 1000)
    world.say(node.name, FAILED)
    world.now += SETTLE / 2
    assert not notices(world.cycle(), "AgentNotReady")
    world.say(node.name, FINE)
    world.now += SETTLE / 2
    assert not notices(world.cycle(), "AgentNotReady")
    assert world.spec(node.name).native_in == ("rtb-a",)


def test_a_node_keeps_what_it_has_and_waits_with_what_is_new() -> None:
    """A table that comes later is held back; the others stay, and no route is deleted."""
    world = Reporting()
    node = world.join()
    world.settle()
    world.say(node.name, FAILED)
    world.join("b")
    world.settle()
    assert world.spec(node.name).native_in == ("rtb-a",)
    assert len(world.ours("rtb-b")) == 2
    (notice,) = notices(world.cycle(), "AgentNotReady")
    assert "not native from rtb-b yet" in notice.message
    world.say(node.name, FINE)
    world.settle()
    assert world.spec(node.name).native_in == ("rtb-a", "rtb-b")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"ready": False}, "no reason given"),
        ({"ready": False, "reason": "Interface", "message": ""}, "Interface"),
        ({"ready": False, "reason": 7, "message": ["x"]}, "7: ['x']"),
        ({"ready": "no"}, ""),
    ],
)
def test_any_status_of_an_agent_becomes_words(status: dict[str, object], words: str) -> None:
    """Nothing in a status can stop the controller."""
    assert agent_trouble(status) == words


@st.composite
def reporting(draw: st.DrawFn) -> Reporting:
    """A settled world to which nodes have come and from which nodes have gone since."""
    policy = replace(
        draw(st.sampled_from([POLICY, DUAL])), direct_routing=draw(st.sampled_from(["auto", "always", "off"]))
    )
    world = Reporting(policy, "ab", one_table=draw(st.booleans()), limit=draw(st.integers(3, 12)))
    for zone in draw(st.lists(st.sampled_from("ab"), max_size=6)):
        world.join(zone, priority=draw(st.integers(0, 1)))
    world.settle()
    for name in list(world.nodes):
        match draw(st.sampled_from(["stays", "stays", "goes", "checked"])):
            case "goes":
                del world.nodes[name]
            case "checked":
                world.switch_check(world.nodes[name].instance_id, on=True)
    for zone in draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=4)):
        world.join(zone)
    return world


@settings(max_examples=settings().max_examples // 2)
@given(reporting(), st.data(), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.4]))
def test_nothing_new_is_published_of_a_node_whose_agent_is_not_ready(
    world: Reporting, data: st.DataObject, chance: random.Random, share: float
) -> None:
    """Any step may fail; once all agents are ready, and if nothing failed, all is as if they had always been."""
    twin = world.copy()

    def fails(step: Step) -> bool:
        return chance.random() < share

    for _ in range(5):
        for name in world.records:
            world.say(name, data.draw(SAYINGS))
        before = {name: record for name, record in world.records.items() if agent_trouble(record.status)}
        world.cycle(fails)
        for name, record in before.items():
            if (now := world.records.get(name)) is not None:
                assert set(now.spec.native_in) <= set(record.spec.native_in)
                assert now.spec.subnet_id in ("", record.spec.subnet_id)
        check_always(world)
        world.now += chance.choice([0, 1, 3, 11])
    for name in world.records:
        world.say(name, FINE)
    world.settle()
    check_settled(world)
    twin.settle()
    assert share or outcome(world) == outcome(twin)  # a pod CIDR that was given in vain rests


@given(reporting(), st.data())
def test_no_agents_word_withdraws_a_node(world: Reporting, data: st.DataObject) -> None:
    """A settled world stays as it is, whatever agents say."""
    world.settle()
    for name in world.records:
        world.say(name, data.draw(SAYINGS))
    decision = decide(world.snapshot(), world.policy)
    assert (decision.plan.empty, decision.plan.waits, decision.plan.notices) == (True, (), ())


# --- what is withdrawn --------------------------------------------------------------------------


def native_world(limit: int = 50, zones: str = "ab") -> tuple[Reporting, list[str]]:
    """A settled world and its nodes."""
    world = Reporting(limit=limit)
    names = [world.join(zone).name for zone in zones]
    world.settle()
    return world, names


def test_a_live_node_that_loses_a_route_is_told_which_and_whose_connections_break() -> None:
    """The table and its subnets; once, in the plan that withdraws it."""
    world, (name, _) = native_world()
    world.remove("rtb-b", str(world.spec(name).pod_cidrs[0]))
    decision = world.cycle()
    (notice,) = notices(decision, "RouteWithdrawn")
    assert (notice.kind, notice.name, notice.warning) == ("Node", name, True)
    assert notice.message == (
        "hosts that are no nodes lose their way to its pods: established connections with them break where they saw "
        "the pod's own address, new ones from the pods are masqueraded. Withdrawn from rtb-b (subnet-b 10.1.0.0/16)"
    )
    assert not notices(world.cycle(), "RouteWithdrawn")


def test_an_agent_that_is_not_ready_is_no_news_where_a_node_only_loses_a_route() -> None:
    """Nothing new waits for the agent."""
    world, names = native_world(zones="abab")
    for name in names:
        world.say(name, FAILED)
    world.limit = 4
    assert {notice.reason for notice in world.cycle().plan.notices} == {"RouteWithdrawn"}


def test_several_tables_are_one_notice() -> None:
    """A check that was switched on takes all of them."""
    world, (name, _) = native_world()
    world.switch_check(world.nodes[name].instance_id, on=True)
    (notice,) = notices(world.cycle(), "RouteWithdrawn")
    assert "rtb-a (subnet-a 10.0.0.0/16), rtb-b (subnet-b 10.1.0.0/16)" in notice.message


def test_a_node_that_yields_the_entry_in_its_own_subnets_table_is_told() -> None:
    """Other nodes still reach it directly, but what else stands on the subnet does not."""
    world, (name, *_) = native_world(limit=4, zones="aaa")
    world.join("b")
    told = [notice for notice in notices(world.cycle(), "RouteWithdrawn") if "rtb-a" in notice.message]
    assert len(told) == 1
    assert told[0].name != name, "the oldest keeps its entry"


def test_the_next_time_is_another_occasion() -> None:
    """So that it is said again; while the withdrawal can't be written it stays the same one."""
    world, (name, _) = native_world()
    occasions = []
    for _ in range(2):
        world.remove("rtb-b", str(world.spec(name).pod_cidrs[0]))
        for fails in (lambda step: step.key[0] == "noderoute", none_fails):
            (notice,) = notices(world.cycle(fails), "RouteWithdrawn")
            occasions.append(notice.occasion)
        world.settle()
        assert world.spec(name).native_in == ("rtb-a", "rtb-b")
    assert occasions[0] == occasions[1] != occasions[2] == occasions[3]


def test_a_lowered_limit_tells_each_node_that_it_drains() -> None:
    """No other node is told."""
    world, names = native_world(limit=50, zones="abab")
    world.limit = 4
    decision = world.cycle()
    told = {notice.name for notice in notices(decision, "RouteWithdrawn")}
    assert told == {name for name in names if len(world.spec(name).native_in) < 2} != set()


@pytest.mark.parametrize("how", ["goes", "terminated", "stopped", "leave"])
def test_a_node_that_goes_is_no_news(how: str) -> None:
    """Its connections end with it; and who cleans up knows what he does."""
    world, (name, _) = native_world()
    if how == "goes":
        del world.nodes[name]
    elif how == "leave":
        world.policy = replace(world.policy, leave=True)
    else:
        world.state(world.nodes[name].instance_id, how)  # type: ignore[arg-type] # one of the two
    decision = world.cycle()
    assert world.spec(name).native_in == ()
    assert not notices(decision, "RouteWithdrawn")


def test_a_node_that_shuts_down_is_no_news_while_its_routes_are_still_active() -> None:
    """EC2 shows its instance's state first, and blackholes later."""
    world, (name, _) = native_world()
    instance = world.nodes[name].instance_id
    world.instances[instance] = replace(world.instances[instance], state="shutting-down")
    decision = world.cycle()
    assert world.spec(name).native_in == ()
    assert not notices(decision, "RouteWithdrawn")


def test_a_table_that_is_gone_is_named_alone() -> None:
    """Nothing is known of its subnets any more."""
    world, (name, _) = native_world()
    for route in list(world.tables["rtb-b"].routes):
        world.foreigners.pop(("rtb-b", route), None)
    del world.tables["rtb-b"]
    told = notices(world.cycle(), "RouteWithdrawn")
    assert {notice.name for notice in told} >= {name}
    assert all(notice.message.endswith("Withdrawn from rtb-b") for notice in told)
