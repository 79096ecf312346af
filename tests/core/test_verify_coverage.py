"""Nodes that `cloudroute verify` can't try are named: a result without them would look like a sound network."""

from __future__ import annotations

from typing import Any

from cloudroute.core.verify.coverage import coverage
from cloudroute.core.verify.model import NodeFacts
from cloudroute.types import NodeRoute
from tests.core.test_verify_sample import spec

READY: dict[str, Any] = {"ready": True}


def said(nodes: list[NodeFacts], statuses: dict[str, Any], tried: set[str], agents: set[str]) -> dict[str, str]:
    """Result and words by node; `statuses` of those that have a NodeRoute."""
    routes = {
        name: NodeRoute(name, name, "1", "", spec(number, "a", native=True), status)
        for number, (name, status) in enumerate(statuses.items())
    }
    return {one.nodes[0]: f"{one.result}: {one.got}" for one in coverage(nodes, routes, tried, agents)}


def test_a_node_without_a_noderoute_and_one_that_is_not_ready_are_named() -> None:
    nodes = [NodeFacts(name="a"), NodeFacts(name="b"), NodeFacts(name="c", ready=False), NodeFacts(name="d")]
    found = said(nodes, {"a": READY, "c": READY, "d": READY}, {"a"}, {"a", "c", "d"})
    assert found == {
        "a": "ok: ready",
        "b": "skipped: b is not tried: it has no NodeRoute; see cloudroute status",
        "c": "skipped: c is not tried: its kubelet is not Ready",
    }, "d is merely not in the sample"


def test_a_node_fails_without_an_agent_and_with_one_in_trouble() -> None:
    stopped = {"ready": False, "reason": "AgentStopped", "message": "on SIGTERM"}
    names = {"a", "b", "c"}
    found = said([NodeFacts(name=name) for name in names], {"a": READY, "b": stopped, "c": {}}, names, names - {"a"})
    assert found == {
        "a": "failed: no agent runs there",
        "b": "failed: AgentStopped: on SIGTERM",
        "c": "failed: its agent has said nothing yet",
    }
