"""Checks the invariants at each write to EC2 and to the API; their numbers are those of docs/design.md.

The checks look from outside: at EC2, at the API's objects and at kernels. A change by somebody else that no controller
could know yet is no violation: `tampered`, `switched_on` and `disturbed` hold the times of such changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudroute.lab.aws.wire import Request, Response
from cloudroute.lab.kube.requests import Request as KubeRequest
from tests.simulation.packet import parse
from tests.simulation.pairs import Pairs
from tests.simulation.violation import require

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

GROUP = "noderoutes.cloudroute.io"
FRESH_SECONDS = 8.0
"""Greatest age of the read on which a route is deleted, in seconds: 5 s, and the duration of the calls."""
MEMORY_SECONDS = 60.0
"""Seconds for which a write of our own overrides describes that do not show it: core.cluster.pending."""
LEASE_SECONDS = 15.0
"""Duration of the Lease: the fence of a process that held it when it was deleted is closed after that."""
NOTICE_SECONDS = 14.0
"""Seconds until a controller knows of a Node and its write has arrived: two messages over a slow link, and a cycle."""
CYCLE_SECONDS = 5.0
"""Longest duration in seconds of a cycle that began before a change."""
UNAWARE_SECONDS = 10.0
"""Seconds between a process' start and a deletion of the Lease within which two processes may lead: the new one can't
know of the holder, whose fence is still open (docs/design.md)."""
REUSE_SECONDS = 30.0
"""Seconds for which a freed CIDR is not assigned again while others were never used."""

Routes = Mapping[str, tuple[str, bool]]


class Checks:
    """Checks the invariants of one scenario. Times are the scheduler's, in seconds."""

    def __init__(self, sim: SimCluster) -> None:
        self.sim = sim
        self.published: dict[tuple[str, str], float] = {}
        """(table, CIDR) -> when a NodeRoute last listed the table in nativeIn; infinity while one does."""
        self.since: dict[tuple[str, str], float] = {}
        """(table, CIDR) -> when the route was last created or replaced by a controller."""
        self.deleted: dict[tuple[str, str], tuple[float, str]] = {}
        """(table, CIDR) -> when the route was last deleted by a controller, and by which process."""
        self.freed: dict[str, tuple[float, str]] = {}
        """CIDR -> when its NodeRoute was deleted, and by which process."""
        self.ever: set[str] = set()
        """CIDRs that were ever assigned."""
        self.assigners: set[str] = set()
        """Controllers that have assigned one."""
        self.switched_off: dict[str, float] = {}
        """Interface -> when a controller last switched its source/dest check off."""
        self.makers: dict[tuple[str, str], str] = {}
        """(table, CIDR) -> the process that last created or replaced the route."""
        self.pairs = Pairs(sim, self)
        self.used_since: dict[str, float] = {}
        """Table -> when a NodeRoute first named it as the table of its node."""
        self.writes = 0
        """Number of controllers' writes to EC2 and to NodeRoutes."""

    def sample(self) -> None:
        """Check all packets now."""
        self.pairs.sample()
        self.sim.gateways.sample()

    # --- what the API holds -----------------------------------------------------------------

    def node_routes(self) -> dict[str, Mapping[str, Any]]:
        """Name -> NodeRoute."""
        found = self.sim.api.store.collection(GROUP).items
        return {key[1]: item.object for key, item in found.items()}

    def cidrs(self, node: SimNode) -> tuple[str, ...]:
        """Pod CIDRs in the NodeRoute of a machine."""
        found = self.sim.api.store.collection(GROUP).items.get(("", node.name))
        if found is None or found.object["spec"]["instanceID"] != node.machine.id:
            return ()
        return tuple(found.object["spec"]["podCIDRs"])

    def hidden(self, ours: float | None, theirs: float) -> float:
        """Time until which a controller may not know a change that others made at `theirs` to its own write at `ours`.

        Its own write overrides what EC2 shows for so long (docs/design.md).
        """
        return ours + MEMORY_SECONDS if ours is not None and ours <= theirs < ours + MEMORY_SECONDS else theirs

    def holder(self) -> str:
        """Holder of the Lease; "" without one."""
        found = self.sim.api.store.collection("leases.coordination.k8s.io").items.get(("cloudroute", "cloudroute"))
        return str(found.object["spec"].get("holderIdentity") or "") if found else ""

    # --- a write of a controller to EC2 -----------------------------------------------------

    def ec2(self, who: str, request: Request, response: Response, before: Routes) -> None:
        """Check a write after EC2 has done or refused it; `before` has the table's routes before it."""
        sim = self.sim
        words = " ".join(request.params[key] for key in ("RouteTableId", *_TO) if key in request.params)
        sim.scheduler.record(f"EC2: {request.action} {words} by {who}: {response.code}")
        self._of_our_pool(who, request.action)
        self._fenced(who, request.action)
        sim.repeats.check(who, request)
        if response.status != 200:
            return
        self.writes += 1
        if request.action == "ModifyNetworkInterfaceAttribute":
            self.switched_off[request.get("NetworkInterfaceId")] = sim.scheduler.now
            return
        table, to = request.get("RouteTableId"), request.get(_TO[0]) or request.get(_TO[1])
        if request.action == "CreateRoute":
            self._created(who, table, to)
        else:
            self._taken(who, request.action, table, to, before)
        if request.action == "DeleteRoute":
            self.since.pop((table, to), None)
            self.deleted[table, to] = (sim.scheduler.now, who)
        else:
            self.since[table, to] = sim.scheduler.now
            self.makers[table, to] = who
        self.pairs.check()
        if sim.gateways.is_aggregate(to):
            sim.gateways.routed(request.action, table, to, before)

    def _of_our_pool(self, who: str, action: str) -> None:
        pools = self.sim.processes[who].flags[who].cluster_cidr
        require(pools == self.sim.settings.cluster_cidr, 8, f"{action} by {who}, whose pools are not the nodes'")

    def _fenced(self, who: str, action: str) -> None:
        holder = self.holder()
        led_by = self.sim.processes.get(holder)
        if led_by and abs(self.sim.lease_deleted - led_by.started[holder]) < UNAWARE_SECONDS:
            return
        # A client that takes a held Lease without waiting (the fault "lease stolen") is no process of ours.
        other = holder != who and holder in self.sim.processes
        require(not other, 6, f"{action} by {who}, but {holder} holds the lease")
        self._alone(who, action)

    def _alone(self, who: str, action: str) -> None:
        for name, replica in self.sim.processes.items():
            open_too = name != who and replica.name == name and replica.group.alive and replica.may_write
            require(not open_too, 6, f"{action} by {who} while the fence of {name} is open")

    def _created(self, who: str, table: str, to: str) -> None:
        sim = self.sim
        family = parse(to).family
        used = sim.cloud.used(table)[family]
        seen = sim.processes[who].requests.seen_as_of
        unknown = sum(when > seen for (t, d), when in sim.foreign.items() if t == table and parse(d).family == family)
        unknown += self.unseen(who, table, family, seen)
        limit = sim.processes[who].flags[who].route_limit
        assert isinstance(limit, int)
        require(
            used - unknown <= limit, 2, f"{table} has {used} {family} entries, {unknown} of them new, limit {limit}"
        )
        journal = sim.gateways.is_aggregate(to) or [spec for spec in self.specs() if to in spec["podCIDRs"]]
        require(journal, 7, f"{to} is routed in {table} but in no NodeRoute: after a crash it would have no owner")

    def unseen(self, who: str, table: str, family: str, seen: float) -> int:
        """Number of entries that other controllers have made since this one has read the table."""
        return sum(
            self.makers.get((table, to)) != who and when > seen
            for (t, to), when in self.since.items()
            if t == table and parse(to).family == family
        )

    def _taken(self, who: str, action: str, table: str, to: str, before: Routes) -> None:
        sim, now = self.sim, self.sim.scheduler.now
        foreign = sim.foreign.get((table, to))
        requests = sim.processes[who].requests
        if foreign is not None:
            words = f"{action} of {to} in {table}, foreign for {now - foreign:.1f} s"
            require(
                foreign > requests.seen_as_of and now - requests.seen_at < FRESH_SECONDS + requests.delayed, 3, words
            )
            sim.foreign.pop((table, to))
        _, active = before.get(to, ("", False))
        alive = {node.machine.id for node in sim.nodes if node.running}
        owners = {spec["instanceID"] for spec in self.specs() if to in spec["podCIDRs"]}
        if active and action == "DeleteRoute" and (owners & alive or not owners):
            drained = now - self.published.get((table, to), 0.0)
            words = f"{to} was deleted from {table} {drained:.1f} s after agents were told not to use it"
            require(drained >= sim.settings.drain_seconds - 0.001, 4, words)

    def specs(self) -> list[Mapping[str, Any]]:
        """The specs of all NodeRoutes."""
        return [item["spec"] for item in self.node_routes().values()]

    # --- a write to the API -----------------------------------------------------------------

    def kube(
        self, who: str, request: KubeRequest, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        """Check a write to the API after it is done."""
        self.sim.gateways.kube(request, before, after or {})
        if who not in self.sim.processes:
            return
        self._of_our_pool(who, request.target)
        if request.resource.plural == "leases" and self.sim.scheduler.now - self.sim.lease_deleted > LEASE_SECONDS:
            self._alone(who, "write of the Lease")
        if request.resource.plural in ("events", "leases"):
            return
        plural, verb = request.target, request.verb
        self.sim.scheduler.record(f"API: {verb} {plural} {request.name or (after or {})['metadata']['name']} by {who}")
        if plural == "noderoutes":
            self.writes += 1
            self._journal(who, before, after if verb != "delete" else None)
        elif plural == "nodes" and verb == "patch":
            self._assigned(who, before, after)
        elif plural == "nodes/status" and after:
            self._condition(who, after)

    def _journal(self, who: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        now = self.sim.scheduler.now
        holders: dict[str, str] = {}
        for spec in self.specs():
            for cidr in spec["podCIDRs"]:
                other = holders.setdefault(cidr, spec["instanceID"])
                require(other == spec["instanceID"], 1, f"{cidr} is published for {other} and for {spec['instanceID']}")
        listed = {(table, cidr) for spec in self.specs() for cidr in spec["podCIDRs"] for table in spec["nativeIn"]}
        for key in {key for key, when in self.published.items() if when == float("inf")} - listed:
            self.published[key] = now
        for key in listed:
            self.published[key] = float("inf")
        if after is None and before:
            self._forgotten(who, before["spec"])
        if after and not before:
            # The agent may have acted on the NodeRoute of an earlier machine with its name: packets may be lost.
            for node in self.sim.nodes:
                if node.machine.id == after["spec"]["instanceID"]:
                    node.disturb(0)
        if after:
            self.used_since.setdefault(after["spec"]["routeTableID"], now)
            self._prerequisites(who, before["spec"] if before else {}, after["spec"])

    def _prerequisites(self, who: str, old: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        sim, now = self.sim, self.sim.scheduler.now
        seen = sim.processes[who].requests.seen_as_of
        eni = spec["networkInterfaceID"]
        alive = any(node.running and node.machine.interface_id == eni for node in sim.nodes)
        same = old.get("networkInterfaceID") == eni
        for table in spec["nativeIn"]:
            for cidr in spec["podCIDRs"]:
                if (same and table in old.get("nativeIn", ())) or not alive:
                    continue
                if sim.tampered.get((table, cidr), 0.0) > seen - MEMORY_SECONDS or not sim.cloud.takes(eni, cidr):
                    continue
                when, by = self.deleted.get((table, cidr), (0.0, who))
                if by != who and when > seen:  # EC2 still shows it, and this process can't know of the deletion
                    continue
                found = sim.cloud.routes(table).get(cidr)
                require(found == (eni, True), 4, f"{cidr} is published as native in {table}, where it leads to {found}")
                since = now - self.since.get((table, cidr), 0.0)
                enough = sim.settings.settle_seconds - 0.001
                require(since >= enough, 4, f"{cidr} is published as native {since:.2f} s after its route was made")
        known = sim.switched_on.get(eni, 0.0) <= seen - MEMORY_SECONDS
        if spec["nativeIn"] and not same and alive and known:
            require(not sim.cloud.checked(eni), 4, f"{eni} is published though its check is on")

    def _forgotten(self, who: str, spec: Mapping[str, Any]) -> None:
        now = self.sim.scheduler.now
        still = {cidr for other in self.specs() for cidr in other["podCIDRs"]}
        for cidr in spec["podCIDRs"]:
            if cidr in still:
                continue
            # The next instance under a Node's name may have the same CIDR: blackhole routes are then pointed at it.
            inherited = any(cidr in node["spec"].get("podCIDRs", ()) for node in self.sim.api.list("nodes"))
            if not inherited:
                self.freed[cidr] = (now, who)
            for table in self.sim.tables:
                target, active = self.sim.cloud.routes(table).get(cidr, ("", False))
                left = target == spec["networkInterfaceID"] and (active or not inherited)
                require(not left, 7, f"the NodeRoute of {cidr} was deleted before its route in {table}")

    def _assigned(self, who: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        given = (after or {}).get("spec", {}).get("podCIDRs") or []
        if not after or given == ((before or {}).get("spec", {}).get("podCIDRs") or []):
            return
        name, now = after["metadata"]["name"], self.sim.scheduler.now
        journal = self.node_routes().get(name, {}).get("spec", {})
        # A Node that registers again gets the CIDR of its instance back, even if another has claimed it meanwhile.
        had = journal.get("podCIDRs") == given and after["spec"]["providerID"].endswith(f"/{journal['instanceID']}")
        for item in self.sim.api.list("nodes"):
            other, shared = item["metadata"]["name"], set(given) & set(item["spec"].get("podCIDRs") or ())
            claimed = self.sim.duplicates.get(other, 0.0)
            knows_not = now - claimed < NOTICE_SECONDS or (had and claimed)
            require(other == name or knows_not or not shared, 1, f"{name} was assigned {shared}, which {other} has")
        ranges = [parse(one) for one in self.sim.gateways.wanted() or [self.sim.setup.pool]]
        for cidr in given:
            when, by = self.freed.get(cidr, (0.0, ""))
            around = next((one for one in ranges if one.covers(parse(cidr))), parse(cidr))
            used = [one for one in self.ever if around.covers(parse(one))]
            unused = (1 << max(24 - around.length, 0)) - len(used) > 1
            # A fresh process does not know which CIDR was freed last.
            hasty = by == who and who in self.assigners and now - when < REUSE_SECONDS and unused and not had
            require(not hasty or ":" in cidr, 1, f"{cidr} is assigned again {now - when:.1f} s after it was freed")
            self.ever.add(cidr)
        self.assigners.add(who)

    def _condition(self, who: str, node: Mapping[str, Any]) -> None:
        found = [c for c in node.get("status", {}).get("conditions", ()) if c["type"] == "NetworkUnavailable"]
        if not found:
            return
        status, reason = found[0]["status"], found[0]["reason"]
        name = node["metadata"]["name"]
        require(status == "False" or reason in ("NoPodCIDR", "RouteLimit"), 8, f"{name}: {status} {reason}")
        if reason == "NoPodCIDR":
            mine = set(node["spec"].get("podCIDRs") or ())
            twice = any(  # a Node may come with the pod CIDR that the duplicate has got since
                mine & set(one["spec"].get("podCIDRs") or ())
                for one in self.sim.api.list("nodes")
                if one["metadata"]["name"] in self.sim.duplicates
            )
            exhausted = self.sim.setup.pool != "100.64.0.0/20"
            require(name in self.sim.duplicates or twice or exhausted, 8, f"{name}: {reason}")
        if reason == "RouteCreated":
            self._routed(who, name)

    def _routed(self, who: str, name: str) -> None:
        """Check that a Node called reachable has a route in each table, or that the table's only subnet is its own."""
        sim = self.sim
        node = next((one for one in sim.nodes if one.name == name and one.running), None)
        if node is None:
            return
        requests = sim.processes[who].requests
        for table in sim.tables:
            subnets = {zone.subnet_id for zone in sim.cloud.vpc.zones if zone.route_table_id == table}
            direct = sim.setup.direct != "off" and subnets == {node.machine.zone.subnet_id}
            known = sim.scheduler.now - self.used_since.get(table, sim.scheduler.now) > CYCLE_SECONDS + requests.delayed
            for cidr in self.cidrs(node):
                if not sim.cloud.takes(node.machine.interface_id, cidr):
                    continue
                if direct or not known or sim.tampered.get((table, cidr), 0.0) > requests.seen_as_of - MEMORY_SECONDS:
                    continue
                to = sim.cloud.routes(table).get(cidr, ("", False))[0]
                require(to == node.machine.interface_id, 4, f"{name} is said to be routed, but not {cidr} in {table}")


_TO = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "NetworkInterfaceId")
