"""Claims of Nodes to instances and pod CIDRs.

The instance (providerID) identifies a node, never the name. Of two Nodes that claim one instance or one pod CIDR, the
one in the journal (the NodeRoutes) keeps it, else the older; the other gets a notice and can't affect the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.cluster.states import State
from cloudroute.types import Cidr, Condition, Node, NodeRoute, Notice

OLDEST_FIRST = attrgetter("created", "name")


class Claims:
    """Decides which Node gets an instance and pod CIDRs, for one plan."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        # The input is nearly sorted. One sort by pairs of texts would take three times as long as these two by one.
        self._nodes = sorted(sorted(snapshot.nodes.values(), key=attrgetter("name")), key=attrgetter("created"))
        self._routes = snapshot.node_routes
        self._policy = policy
        self._node_sized = NodeSized(policy.pools, policy.node_mask)
        self._instances: dict[str, str] = {}
        self._holders: dict[Cidr, str] = {}
        self.own: dict[str, NodeRoute] = {}
        """By node: the NodeRoute of its name, if that has its instance and CIDRs."""
        self.strays: list[NodeRoute] = []
        """The other NodeRoutes."""
        self.states: dict[str, State] = {}
        """By node: state of each Node that gets no network."""
        self.refusals: list[tuple[Node, Condition]] = []
        self.notices: list[Notice] = []

    def used(self) -> set[Cidr]:
        """All CIDRs that a Node or NodeRoute holds, by a claim that was accepted or not."""
        used = set(self._holders)
        used.update([cidr for node in self._nodes if node.name not in self.own for cidr in node.pod_cidrs])
        used.update([cidr for record in self.strays for cidr in record.spec.pod_cidrs])
        return used

    def settle(self) -> list[Node]:
        """Return the accepted Nodes, oldest first. Nodes in the journal take precedence over new ones."""
        accepted: list[Node] = []
        newcomers: list[Node] = []
        for node in self._nodes:
            if node.problem:
                self.notify(node, "InvalidNode", node.problem)
            if not node.instance_id:
                self.states[node.name] = State.INVALID
                continue
            record = self._routes.get(node.name)
            if record is None or not _same(node, record) or self._problem(record.spec.pod_cidrs):
                newcomers.append(node)
            elif self._take(node, record.spec.pod_cidrs):
                self.own[node.name] = record
                accepted.append(node)
        self.strays = [record for name, record in self._routes.items() if name not in self.own]
        if newcomers:
            # Of Nodes that claim a CIDR of the journal, the one with the former node's name comes first.
            newcomers.sort(key=lambda node: not self._succeeds(node))
            accepted += [node for node in newcomers if self._accepts(node)]
            accepted.sort(key=OLDEST_FIRST)
        return accepted

    def _succeeds(self, node: Node) -> bool:
        record = self._routes.get(node.name)
        return record is not None and record.spec.pod_cidrs == node.pod_cidrs

    def _accepts(self, node: Node) -> bool:
        if problem := self._problem(node.pod_cidrs) or self._reserved(node.pod_cidrs):
            self.refuse(node, problem)
            return False
        return self._take(node, node.pod_cidrs)

    def _take(self, node: Node, cidrs: Sequence[Cidr]) -> bool:
        """Let the node have its instance and `cidrs`, if no other Node has the instance."""
        first = self._instances.setdefault(node.instance_id, node.name)
        if first != node.name:
            text = f"{node.instance_id} belongs to the node {first} already; delete the Node that is out of date"
            self.states[node.name] = State.DUPLICATE
            self.notify(node, "DuplicateInstance", text)
            return False
        for cidr in cidrs:
            self._holders[cidr] = node.name
        return True

    def _problem(self, cidrs: Sequence[Cidr]) -> str:
        """Reason why a node can't have `cidrs`, "" if it can."""
        if self._holders.keys().isdisjoint(cidrs) and self._node_sized.issuperset(cidrs):
            return ""
        for cidr in cidrs:
            if cidr in self._holders:
                return f"pod CIDR {cidr} belongs to the node {self._holders[cidr]} already; recreate this Node"
            if cidr not in self._node_sized:
                pools = ", ".join(map(str, self._policy.pools))
                mask = self._policy.node_mask.get(cidr.family)
                wanted = f"/{mask} of" if mask else f"part of any {cidr.family}"
                return f"pod CIDR {cidr} is no {wanted} --cluster-cidr {pools}; recreate the Node to get one"
        return ""

    def _reserved(self, cidrs: Sequence[Cidr]) -> str:
        """Reason why a new Node with `cidrs` can't have them, "" if it can. A Node in the journal keeps its own."""
        for cidr in cidrs:
            for reserved in self._policy.reserved:
                if reserved.overlaps(cidr):
                    return f"pod CIDR {cidr} is in --reserved-cidr {reserved}; recreate the Node to get another"
        return ""

    def inherit(self, node: Node, records: Sequence[NodeRoute]) -> tuple[Cidr, ...]:
        """Former CIDRs of the instance of a Node that has none; () when it can't have them again."""
        for record in records:
            if not self._problem(record.spec.pod_cidrs):
                self._holders.update(dict.fromkeys(record.spec.pod_cidrs, node.name))
                return record.spec.pod_cidrs
        return ()

    def refuse(self, node: Node, problem: str) -> None:
        """Give the node no network."""
        self.states[node.name] = State.REFUSED
        self.refusals.append((node, Condition("True", "NoPodCIDR", problem)))
        self.notify(node, "NoPodCIDR", problem)

    def notify(self, node: Node, reason: str, text: str) -> None:
        """Tell people about the node."""
        self.notices.append(Notice("Node", node.name, node.uid, reason, text))


def _same(node: Node, record: NodeRoute) -> bool:
    spec = record.spec
    return spec.instance_id == node.instance_id and (spec.pod_cidrs == node.pod_cidrs or not node.pod_cidrs)
