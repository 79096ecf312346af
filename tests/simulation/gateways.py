"""Checks invariants 9 and 10: packets by way of gateways, and the nodes that aggregates lead to.

Like all checks these look from outside: at EC2's tables, at kernels, at processes, and at Leases as they are written.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudroute.lab.kube.requests import Request as KubeRequest
from cloudroute.types import GATEWAY_LEASE
from tests.simulation.fault_plan import CATCH_UP_SECONDS, GATEWAY_DURATIONS, PlannedFault
from tests.simulation.packet import forwards, lost_by_table, parse, unknown
from tests.simulation.violation import require

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

FAILOVER_SECONDS = 2.0
"""Seconds beyond the duration of a gateway's Lease within which a dead gateway is replaced."""
GLANCE_SECONDS = 0.5
"""Seconds between two checks of the time for which an aggregate has led to a dead gateway."""
HEALING = 45.0
"""Seconds after a reason to replace a gateway within which it may be replaced, or packets by it lost."""
UNSEEN_SECONDS = 90.0
"""Longest time until a controller knows of an entry that others have changed: its own write hides it for a minute."""
FORGOTTEN_SECONDS = 10.0
"""Seconds after the reboot of a gateway within which a controller may still think that its kernel forwards."""
TROUBLES = ("api down", "crash", "parts", "renewals lag")
"""Faults of gateways that may delay a failover."""
LISTEN_SECONDS = 10.0
"""Seconds for which a controller must have led before it is held to the time of a failover."""


class Gateways:
    """Gateways of one scenario. Times are the scheduler's, in seconds."""

    def __init__(self, sim: SimCluster) -> None:
        self.sim = sim
        self._reached: dict[tuple[str, SimNode, str], None] = {}
        """(table, target, CIDR of the target) whose pods hosts of the VPC have once reached by that table."""
        self._renewed: dict[str, float] = {}
        """Node -> last renewal of its Lease."""
        self._told: dict[str, float] = {}
        """ENI -> time until which a NodeRoute said of its node to be a gateway."""
        self._dead_since: dict[tuple[str, str], float] = {}
        """(table, aggregate) that leads to a dead gateway while a live one could have it -> since when."""
        self._leader, self._leads_since = "", 0.0
        self._late_until = 0.0
        """Time until which renewals that reached a controller late may have made gateways look dead."""
        self._troubled_until = 0.0
        """Time until which faults of EC2, the API and controllers may delay a failover."""

    # --- what is there ----------------------------------------------------------------------

    def wanted(self) -> set[str]:
        """Aggregates that each table shall have."""
        settings = self.sim.replicas[0].settings
        bits = settings.gateway_routes.bit_length() - 1 if self.sim.setup.gateway_routes else -1
        pools = [ipaddress.ip_network(str(pool)) for pool in settings.cluster_cidr] if bits >= 0 else []
        return {str(part) for pool in pools for part in pool.subnets(bits)}

    def is_aggregate(self, destination: str) -> bool:
        """Whether a destination is one of the pools or a part of one, and no node's."""
        to = parse(destination)
        return to.length < {"ipv4": 24, "ipv6": 80}[to.family] and any(
            pool.covers(to) for pool in self.sim.settings.cluster_cidr
        )

    def routes(self, table: str) -> dict[str, tuple[SimNode | None, bool]]:
        """Aggregates of a table that lead to an interface: the node, if it runs, and whether the route is active."""
        nodes = {node.machine.interface_id: node for node in self.sim.nodes if node.running}
        return {
            to: (nodes.get(target), active)
            for to, (target, active) in self.sim.cloud.routes(table).items()
            if target.startswith("eni-") and self.is_aggregate(to)
        }

    def live(self) -> list[SimNode]:
        """Nodes that can be gateways now: selected, schedulable, ready, and renewing their Leases."""
        found = []
        for node in self.sim.nodes:
            spec = self.sim.checks.node_routes().get(node.name, {}).get("spec", {})
            told = spec.get("gateway") and spec.get("instanceID") == node.machine.id
            if told and self._works(node) and self.sim.scheduler.now - self._renewed.get(node.name, 0.0) < 1.5:
                found.append(node)
        return found

    def _works(self, node: SimNode) -> bool:
        now = self.sim.scheduler.now
        hears = node.link.slow == 0 and not node.link.partitioned
        works = node.running and node.registered and node.group.alive and node.group.paused_until <= now and hears
        return works and not self.sim.cloud.checked(node.machine.interface_id) and self.chosen(node)

    def chosen(self, node: SimNode) -> bool:
        """Whether a Node is selected, schedulable and Ready."""
        found = self.sim.api.store.collection("nodes").items.get(("", node.name))
        if found is None:
            return False
        ready = {"type": "Ready", "status": "True"}
        conditions = found.object.get("status", {}).get("conditions", ())
        schedulable = not found.object["spec"].get("unschedulable")
        return node.labelled and schedulable and any(ready.items() <= one.items() for one in conditions)

    # --- what happens -----------------------------------------------------------------------

    def injected(self, fault: PlannedFault) -> None:
        """Note a fault."""
        if fault.kind not in (*GATEWAY_DURATIONS, "gateway check stuck") or fault.kind in TROUBLES:
            until = self.sim.scheduler.now + fault.seconds + CATCH_UP_SECONDS
            self._troubled_until = max(self._troubled_until, until)

    def kube(self, request: KubeRequest, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        """Check a write to the API, by whatever process."""
        name, now = request.name or after["metadata"]["name"], self.sim.scheduler.now
        if request.resource.plural == "leases" and name.startswith(GATEWAY_LEASE):
            self._renewed[name.removeprefix(GATEWAY_LEASE)] = now
        told = request.resource.plural == "noderoutes" and after.get("spec", {}).get("gateway")
        if told and request.verb != "delete" and not (before or {}).get("spec", {}).get("gateway"):
            asked = bool(self.sim.setup.gateway_routes)
            meant = any(
                node.name == name and (node.labelled or node.silenced > now - HEALING) for node in self.sim.nodes
            )
            # The Node of a gateway may have another name by now: it forwards until it is drained.
            drains = self._told.get(after["spec"].get("networkInterfaceID"), -math.inf) > now - HEALING
            words = f"{name} is told to be a gateway, which --gateway-nodes does not select"
            require(asked and (meant or drains), 10, words)
            for node in self.sim.nodes:
                if node.name == name:
                    node.silence(0)  # its agent renews the Lease for this NodeRoute only once it has heard of it
        if request.resource.plural == "routetables" and request.verb != "delete":
            told_before = _destinations((before or {}).get("status", {}), "gateways")
            for to in _destinations(after.get("status", {}), "gateways") - told_before:
                there = to in self.sim.cloud.routes(name) or self._by_hand(name, to)
                require(there, 10, f"agents are told of {to} in {name}, which has no such route")
        if request.resource.plural == "noderoutes":
            ends = now if request.verb == "delete" else math.inf
            for spec, until in (((before or {}).get("spec", {}), now), (after.get("spec", {}), ends)):
                if spec.get("gateway"):
                    self._told[spec["networkInterfaceID"]] = until

    def routed(self, action: str, table: str, to: str, before: Mapping[str, tuple[str, bool]]) -> None:
        """Check a write of an aggregate by a controller, after it."""
        sim, now = self.sim, self.sim.scheduler.now
        require(self.sim.setup.gateway_routes, 10, f"{action} of {to} in {table}, and nobody asked for gateways")
        if action == "CreateRoute":
            report = sim.api.store.collection("routetables.cloudroute.io").items.get(("", table))
            status = report.object.get("status", {}) if report else {}
            journal = _destinations(status, "gateways") | _destinations(status, "intended")
            require(to in journal, 7, f"{to} is routed in {table} but in no journal: after a crash it would be foreign")
        was = next((node for node in sim.nodes if node.machine.interface_id == before.get(to, ("",))[0]), None)
        now_at = self.routes(table).get(to, (None, False))[0]
        if action == "ReplaceRoute" and was and was is not now_at and self._works(was) and not self._by_hand(table, to):
            words = f"{to} in {table} is taken from {was.name}, which has renewed its Lease all the time"
            require(was.silenced > now - HEALING or now < self._late_until, 10, words)
        if action != "DeleteRoute":
            ready = now_at is None or now_at.forgot > now - FORGOTTEN_SECONDS or forwards(now_at, parse(to))
            require(ready, 9, f"{to} in {table} leads to {now_at and now_at.name}, whose kernel does not forward")
        if was is None or action != "DeleteRoute":
            self._check(table)

    # --- hosts of the VPC -------------------------------------------------------------------

    def kernel(self, node: SimNode) -> None:
        """Check packets by way of a gateway, after each write to its kernel."""
        for table in self.sim.tables if self.sim.setup.gateway_routes else ():
            held = [to for to, (holder, _) in self.routes(table).items() if holder is node]
            for to in held:
                ends = not forwards(node, parse(to)) and not self._by_hand(table, to)
                excused = not ends or self.sim.checks.pairs.excused(node, node)
                require(excused, 9, f"{node.name} ends to forward, and {to} in {table} leads to it")
            if held:
                self._check(table)

    def _by_hand(self, table: str, to: str) -> bool:
        """Whether somebody else has changed an aggregate, and controllers may not know it yet."""
        return self.sim.tampered.get((table, to), 0.0) > self.sim.scheduler.now - UNSEEN_SECONDS

    def _check(self, table: str) -> None:
        for where, target, cidr in [one for one in self._reached if one[0] == table]:
            if target not in self.sim.nodes or cidr not in self.sim.checks.cidrs(target):
                del self._reached[where, target, cidr]
            elif why := self._lost(table, target, cidr):
                del self._reached[where, target, cidr]
                excused = self._excused(table, target, cidr)
                require(excused, 9, f"a host of the VPC reaches {cidr} of {target.name} by {table} no more: {why}")

    def _lost(self, table: str, target: SimNode, cidr: str) -> str:
        return lost_by_table(self.sim, table, target, parse(cidr)) or unknown(target, parse(cidr))

    def _excused(self, table: str, target: SimNode, cidr: str) -> bool:
        pairs = self.sim.checks.pairs
        routes = self.routes(table)
        leading = {  # None: somebody has taken it, or its node does not run
            to: routes.get(to, (None, False))[0]
            for to in self.sim.cloud.routes(table)
            if self.is_aggregate(to) and parse(to).covers(parse(cidr))
        }
        if not leading or pairs.excused(target, target):
            return True
        return any(
            holder is None or pairs.excused(holder, holder) or self._by_hand(table, to)
            for to, holder in leading.items()
        )

    def sample(self) -> None:
        """Check all packets of hosts of the VPC, and add those that arrive by now."""
        for table in self.sim.tables if self.sim.setup.gateway_routes else ():
            self._check(table)
            for node in self.sim.nodes:
                for cidr in self.sim.checks.cidrs(node) if node.running and node.registered else ():
                    if not self._lost(table, node, cidr):
                        self._reached[table, node, cidr] = None

    # --- dead gateways ----------------------------------------------------------------------

    def watch(self) -> None:
        """Check every half second that no aggregate leads to a dead gateway for too long."""
        live, now = self.live(), self.sim.scheduler.now
        if self.sim.api.renewals_lag or any(replica.kube.slow for replica in self.sim.replicas):
            self._late_until = now + HEALING
        due = self.sim.settings.gateway_lease_seconds + FAILOVER_SECONDS
        for table in self.sim.tables:
            for to, (holder, active) in self.routes(table).items():
                alive = holder and active and self._works(holder)
                able = [node for node in live if self.sim.cloud.takes(node.machine.interface_id, to)]
                if alive or self._by_hand(table, to) or not able or not self._calm():
                    self._dead_since.pop((table, to), None)
                    continue
                since = max(self._dead_since.get((table, to), now), self._check_known(holder))
                self._dead_since[table, to] = since
                words = f"{to} in {table} leads to {holder.name if holder else 'nobody'}, dead for {now - since:.1f} s"
                require(now - since <= due, 10, f"{words}, while {able[0].name} lives")
        self.sim.scheduler.after(GLANCE_SECONDS, self.watch)

    def _check_known(self, holder: SimNode | None) -> float:
        """Time at which a controller knows at the latest that the check of a gateway is on."""
        eni, sim = holder.machine.interface_id if holder else "", self.sim
        if not holder or not sim.cloud.checked(eni):
            return 0.0
        hidden = sim.checks.hidden(sim.checks.switched_off.get(eni), sim.switched_on.get(eni, 0.0))
        return hidden + sim.settings.resync_seconds

    def _calm(self) -> bool:
        """Whether EC2 and the API answer, and a controller has led for a while."""
        leading = [r.name for r in self.sim.replicas if r.group.alive and r.lease and r.lease.held and r.loop]
        leader, now = leading[0] if len(leading) == 1 else "", self.sim.scheduler.now
        if leader != self._leader:
            self._leader, self._leads_since = leader, now
        # A fault of EC2 meets the next request, which may come long after it.
        waited = max(replica.requests.hung_until for replica in self.sim.replicas)
        troubled = max(self._troubled_until, waited + CATCH_UP_SECONDS)
        return bool(leader) and now - self._leads_since > LISTEN_SECONDS and now > troubled

    # --- at rest ----------------------------------------------------------------------------

    def problem(self) -> str:
        """First check that fails at rest, in words; "" for none."""
        if not self.sim.setup.gateway_routes:
            return self._nothing()
        live, sim = self.live(), self.sim
        # A gateway that is selected no longer keeps an aggregate that no other one takes.
        kept = [
            holder
            for table in sim.tables
            for to, (holder, _) in self.routes(table).items()
            if not self._taken(live, to)
        ]
        for node in sim.nodes:
            spec = sim.checks.node_routes().get(node.name, {}).get("spec", {})
            wrong = bool(spec.get("gateway")) != node.labelled and (live or node.labelled)
            if node.registered and wrong and node not in kept:
                return f"{node.name} has spec.gateway {spec.get('gateway')}"
        for table in sim.tables:
            routes = self.routes(table)
            if why := self._entries(table, routes, live) if live else "":
                return why
            report = sim.api.get("routetables", table)["status"]
            journal = {one["destination"]: one["node"] for use in report.values() for one in use.get("gateways") or ()}
            if intended := _destinations(report, "intended") & routes.keys():
                return f"the journal of {table} intends {sorted(intended)}, which it has"
            if journal != {to: holder.name if holder else "" for to, (holder, _) in routes.items()}:
                return f"the journal of {table} has {journal}, the table {routes}"
            if why := self._all_reached(table) if live and not self.wanted() - routes.keys() else "":
                return why
        return ""

    def _taken(self, live: Sequence[SimNode], to: str) -> bool:
        """Whether an aggregate can lead to the ENI of one of these gateways: IPv4 takes an IPv4 address."""
        return any(self.sim.cloud.takes(node.machine.interface_id, to) for node in live)

    def _entries(self, table: str, routes: Mapping[str, tuple[SimNode | None, bool]], live: Sequence[SimNode]) -> str:
        """Check that a table has all aggregates unless others' routes leave no entry, and that gateways hold them."""
        for to in sorted(routes.keys() - self.wanted()):  # it stays until all others are there, which may not fit
            if self._taken(live, to) and not (self.wanted() - routes.keys() and self._full(table, to)):
                return f"{to} is still in {table}"
        for to, (holder, active) in routes.items():
            if self._taken(live, to) and (not holder or not active or not self._works(holder)):
                return f"{to} in {table} leads to no live gateway"
        for to in sorted(self.wanted()):
            mine = [one for one, (eni, _) in self.sim.cloud.routes(table).items() if eni.startswith("eni-")]
            nodes = [one for one in mine if not self.is_aggregate(one) and parse(one).family == parse(to).family]
            if (
                self._taken(live, to)
                and to not in routes
                and (table, to) not in self.sim.foreign
                and (nodes or not self._full(table, to))
            ):
                return f"{to} is not in {table}, which has {nodes} of nodes"
        return ""

    def _full(self, table: str, to: str) -> bool:
        family = parse(to).family
        use = self.sim.api.get("routetables", table)["status"][family]
        return bool(self.sim.cloud.used(table)[family] >= use.get("learnedLimit", use["limit"]))

    def _all_reached(self, table: str) -> str:
        for node in self.sim.nodes:
            for cidr in self.sim.checks.cidrs(node) if node.running and node.registered else ():
                if (table, cidr) not in self.sim.foreign and (why := self._lost(table, node, cidr)):
                    return f"a host of the VPC does not reach {cidr} of {node.name} by {table}: {why}"
        return ""

    def _nothing(self) -> str:
        """Check that without the setting nothing is published, renewed or routed."""
        leases = self.sim.api.store.collection("leases.coordination.k8s.io").items
        if gateways := [name for _, name in leases if name != "cloudroute"]:
            return f"there are Leases of {gateways}, and nobody asked for gateways"
        return ""


def _destinations(status: Mapping[str, Any], name: str) -> set[str]:
    """Destinations in a list of all families in the status of a RouteTable object."""
    return {one["destination"] for use in status.values() if use for one in use.get(name) or ()}
