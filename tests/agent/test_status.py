"""The status of a NodeRoute: its content, when it is written, and again after a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from cloudroute.agent.report import LASTS_SECONDS, Report
from cloudroute.core.node.desired import DesiredStateBuilder
from cloudroute.core.node.startup import AgentState, Obstacle
from cloudroute.errors import Unreachable
from cloudroute.types import NodeRoute
from tests.agent.in_memory import HOST, POLICY, TABLES, Node, node_route, status

PAIR = (node_route(1, TABLES), node_route(2))
UNREACHABLE = Unreachable("patch noderoutes/status", "n1", "503", "no leader")


def written(node: Node) -> int:
    """Write the status as the thread would, until nothing is due; return the number of all writes."""
    while (due := node.reporter.due) is not None:
        node.clock.time = max(node.clock.time, due)
        node.reporter.write_next()
    return len(node.agents.written)


def test_the_status_says_how_the_node_stands() -> None:
    node = Node(node_route(1, ["rtb-3"]), node_route(2), node_route(3), node_route(4))
    node.settle()
    assert written(node) == 1
    assert node.agents.written[0] == {
        "ready": True, "reason": "Ready", "message": "", "observedGeneration": 1, "mtu": 8951, "path": "partial",
        "paths": {"native": 0, "direct": 1, "overlay": 2}, "since": node.clock.timestamp(),
    }  # fmt: skip


def test_the_status_is_written_on_own_transitions_only() -> None:
    """N agents watch N NodeRoutes: a status that followed each peer would cost N x N events."""
    node = Node(node_route(1, ["rtb-3"]), *(node_route(number) for number in range(2, 21)))
    node.settle()
    assert written(node) == 1
    for number in range(2, 21):
        node.publish(node_route(number, TABLES))
        node.settle()
    assert written(node) == 1, "where its peers are routed is not told by this node"
    for number in range(3, 19, 3):
        node.withdraw(f"n{number}")
        node.settle()
    assert written(node) == 2, "one of three tables has no senders any more"
    assert [said["path"] for said in node.agents.written] == ["partial", "native"]
    node.publish(node_route(1, ["rtb-3"], generation=2))
    node.settle()
    assert written(node) == 3, "its own spec has changed"
    node.start()
    node.settle()
    assert written(node) == 3, "a fresh process finds it written"


def test_a_path_that_lasts_a_moment_is_not_told() -> None:
    """A joining node has no subnet until its source/dest check is off: each neighbour would write its status twice."""
    node = Node(node_route(1, ["rtb-3"]), node_route(2))
    node.settle()
    assert written(node) == 1
    neighbour = node_route(4)
    node.publish(replace(neighbour, spec=replace(neighbour.spec, subnet_id="")))
    node.turn()
    due = node.reporter.due
    assert due, "partial: the neighbour sends by rtb-2"
    assert due >= node.clock.time + LASTS_SECONDS
    node.publish(neighbour)
    node.turn()
    assert node.reporter.due is None
    assert written(node) == 1


def test_a_path_that_keeps_changing_is_reported_when_the_first_change_is_due() -> None:
    node = Node(*PAIR)
    node.settle()
    written(node)
    report = node.turn()
    node.reporter.say(replace(report, path="partial"))
    due = node.reporter.due
    for path in ("overlay", "direct"):
        node.clock.time += 0.4 * LASTS_SECONDS
        node.reporter.say(replace(report, path=path))
        assert node.reporter.due == due


def test_an_obstacle_to_programming_is_reported_once_and_taken_back() -> None:
    node = Node(*PAIR, interface="eth7")
    node.settle()
    assert written(node) == 1
    host, node.kernel.facts = node.kernel.facts, "eth7 is gone"
    node.kernel.told({"links"})
    for _ in range(3):
        assert status(node.turn()) == (False, "Interface")
        assert written(node) == 2
    said = node.agents.node_routes.objects["n1"].status
    assert (said["ready"], said["reason"], said["message"]) == (False, "Interface", "eth7 is gone")
    assert "path" not in said, "nobody knows"
    assert node.telemetry.registry.get_sample_value("cloudroute_agent_ready") == 0
    node.kernel.facts = host
    assert node.settle().ready
    assert written(node) == 3
    assert node.telemetry.registry.get_sample_value("cloudroute_agent_ready") == 1


def test_since_stays_while_path_and_readiness_do() -> None:
    node = Node(*PAIR)
    node.settle()
    written(node)
    since = node.agents.written[-1]["since"]
    node.clock.time += 100
    node.publish(node_route(1, TABLES, generation=2))
    node.settle()
    written(node)
    assert node.agents.written[-1]["observedGeneration"] == 2
    assert node.agents.written[-1]["since"] == since


def test_since_moves_with_readiness() -> None:
    node = Node(*PAIR)
    node.settle()
    written(node)
    node.clock.time += 100
    node.kernel.refuse["nexthops", None] = ("no memory", 1_000_000)
    node.publish(node_route(3))
    assert status(node.turn()) == (False, "PeersFailed")
    written(node)
    said = node.agents.written
    assert [one["path"] for one in said] == ["native"] * 2
    assert said[0]["since"] != said[1]["since"] == node.clock.timestamp()


def test_a_status_that_could_not_be_written_is_written_later() -> None:
    node = Node(*PAIR)
    node.agents.errors = [UNREACHABLE]
    node.settle()
    assert written(node) == 1
    assert node.agents.node_routes.objects["n1"].status["ready"] is True


def test_a_status_that_changes_while_it_is_written_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(*PAIR)
    report = node.settle()
    write = node.agents.write_status

    def late(route: NodeRoute, said: Mapping[str, object]) -> None:
        monkeypatch.undo()
        node.reporter.say(replace(report, reason="KernelFailed", message="no nftables"))
        write(route, said)

    monkeypatch.setattr(node.agents, "write_status", late)
    written(node)
    assert [said["reason"] for said in node.agents.written] == ["Ready", "KernelFailed"]


def test_the_last_word_is_compared_with_our_own_last_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped within its first turn: its predecessor's last word was the same."""
    node = Node(*PAIR)
    node.reporter.say(node.settle().stopped())
    assert written(node) == 1
    report = node.settle()  # sees AgentStopped of its predecessor
    write = node.agents.write_status

    def late(route: NodeRoute, said: Mapping[str, object]) -> None:
        monkeypatch.undo()
        node.reporter.say(report.stopped())
        write(route, said)

    monkeypatch.setattr(node.agents, "write_status", late)
    written(node)
    assert [said["reason"] for said in node.agents.written] == ["AgentStopped", "Ready", "AgentStopped"]


def test_a_status_that_fails_backs_off_however_many_turns_there_are() -> None:
    node = Node(*PAIR)
    node.settle()
    node.agents.errors = [UNREACHABLE]
    node.reporter.write_next()
    due = node.reporter.due
    assert due
    assert due > node.clock.time
    for _ in range(5):
        node.turn()
    assert node.reporter.due == due


def test_an_outdated_status_is_not_written_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(*PAIR)
    node.settle()
    assert written(node) == 1
    host, node.kernel.facts = node.kernel.facts, "eth0 is gone"
    node.kernel.told({"links"})
    node.turn()

    def recover_and_fail(*_: object) -> None:
        node.kernel.facts = host
        assert node.settle().ready
        raise UNREACHABLE

    with monkeypatch.context() as while_writing:
        while_writing.setattr(node.agents, "write_status", recover_and_fail)
        node.reporter.write_next()
    assert written(node) == 1, "the object says Ready as before"


@pytest.mark.parametrize("words", [["one"], ["x" * 2000], [f"peer {number}" for number in range(50)]])
def test_a_message_keeps_to_what_the_crd_allows(words: list[str]) -> None:
    own = node_route(1)
    wanted = DesiredStateBuilder(POLICY).compose(own, {}, {}, HOST)
    report = Report.of(AgentState.SERVING, own, wanted, Obstacle("PeersFailed", words))
    assert 0 < len(report.status({}, 0)["message"]) <= 1024
