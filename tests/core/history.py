"""States of all Nodes and NodeRoutes, from plan to plan."""

from __future__ import annotations

from collections.abc import Mapping

from cloudroute.core.cluster.model import Snapshot
from cloudroute.core.cluster.planner import Decision
from cloudroute.core.cluster.states import State

WITHOUT_NETWORK = {State.DUPLICATE, State.REFUSED, State.OTHER_VPC, State.UNSEEN, State.BLOCKED}
NEW = {*WITHOUT_NETWORK, State.JOINING, State.ROUTABLE}
OF_NODES: Mapping[State, set[State]] = {
    State.INVALID: NEW,
    **dict.fromkeys(WITHOUT_NETWORK, NEW),
    State.JOINING: {State.ROUTABLE, State.MISSING, State.DEAD},
    State.ROUTABLE: {State.JOINING, State.MISSING, State.DEAD},
    State.MISSING: {State.JOINING, State.ROUTABLE, State.DEAD},
    State.DEAD: {State.MISSING},
}
"""The drawn transitions of a Node whose NodeRoute is written, or that has no network."""
TAKES_OVER = {State.MISSING, State.DEAD}
"""Also drawn for a Node without network whose instance has a NodeRoute under another name."""
ALONE = {State.LEAVING, State.DRAINING, State.GONE, State.SUPERSEDED, State.REPLACED}
ENDS = {State.DRAINING, State.GONE, State.SUPERSEDED, State.REPLACED}
"""States in which a NodeRoute is deleted."""


class History:
    """Sees each plan, and requires that each state follows from the one before as it is drawn."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], State] = {}
        self._routes: dict[tuple[str, str], State] = {}

    def see(self, snapshot: Snapshot, decision: Decision) -> None:
        """The next plan. `cleanup` looks at no Node."""
        membership = decision.membership
        assert membership.node_states.keys() == (set() if decision.policy.leave else snapshot.nodes.keys())
        nodes = {(name, snapshot.nodes[name].uid): state for name, state in membership.node_states.items()}
        routes = {
            (name, record.spec.instance_id): membership.state_of_route(name)
            for name, record in snapshot.node_routes.items()
        }
        assert set(membership.node_route_states.values()) <= ALONE
        own = snapshot.node_routes.keys() - membership.node_route_states.keys()
        published = {record.spec.instance_id for record in snapshot.node_routes.values()}
        for node, old in self._nodes.items():
            drawn = OF_NODES[old] if node[0] in own else OF_NODES[old] | WITHOUT_NETWORK
            if old in WITHOUT_NETWORK and node in nodes and snapshot.nodes[node[0]].instance_id in published:
                drawn = drawn | TAKES_OVER
            assert nodes.get(node, old) in {old, *drawn}, f"{node}: {old} to {nodes[node]}"
        for route, old in self._routes.items():
            if route not in routes:
                assert old in ENDS, f"{route} was deleted while {old}"
            elif old is State.DRAINING:
                assert routes[route] is not State.LEAVING, f"{route} was withdrawn already"
        self._nodes, self._routes = nodes, routes
