"""Nodes that can't be tried, or not fully: each is named in the result, since nothing else would tell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from cloudroute.core.verify.model import NodeFacts, Outcome, Result
from cloudroute.types import NodeRoute


def coverage(
    nodes: Iterable[NodeFacts], routes: Mapping[str, NodeRoute], tried: Collection[str], agents: Collection[str]
) -> Iterator[Outcome]:
    """Yield an outcome for each node that is tried or can't be; none for those that the sample merely leaves out.

    `agents` are the nodes on which an agent's pod runs.
    """
    for node in sorted(nodes, key=lambda node: node.name):
        if node.name in tried:
            trouble = _trouble(routes[node.name].status) if node.name in agents else "no agent runs there"
            yield _outcome(node.name, "failed" if trouble else "ok", trouble or "ready")
        elif node.name not in routes:
            yield _outcome(
                node.name, "skipped", f"{node.name} is not tried: it has no NodeRoute; see cloudroute status"
            )
        elif not node.ready:
            yield _outcome(node.name, "skipped", f"{node.name} is not tried: its kubelet is not Ready")


def _trouble(status: Mapping[str, object]) -> str:
    """Words of an agent that is not ready; "" of one that is."""
    if status.get("ready") is True:
        return ""
    words = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
    return words or "its agent has said nothing yet"


def _outcome(name: str, result: Result, got: str) -> Outcome:
    return Outcome(
        name="node",
        source="controller",
        target=f"node {name}",
        result=result,
        expected="a NodeRoute, and an agent that has done all that it says",
        got=got,
        nodes=(name,),
    )
