"""State of the account: moto's objects, the views that EC2 shows of them, and earlier versions of these.

Every change is recorded as a new version of a `View`, with its time. A describe reads the newest version or, for a
stale read that a fault asks for, the version valid at that time. Later changes that EC2 makes by itself (an instance
reaches `stopped`, a terminated one is no longer described) wait in `later` and are made by `settle` at the start of
the next call, dated with the time at which they were due.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from cloudroute.lab.aws import acl_views, machine_views, views
from cloudroute.lab.aws.backend import Backend
from cloudroute.lab.aws.quotas import Quotas
from cloudroute.lab.aws.views import Kind, TableView, View
from cloudroute.lab.aws.wire import AsOf, AwsError, Request, Response
from cloudroute.ports import Clock
from cloudroute.types import FAMILIES, Family

REMEMBERED_SECONDS = 900
"""Seconds back that a stale read can look."""

NOT_FOUND: Mapping[Kind, tuple[str, str]] = {
    "RouteTable": ("InvalidRouteTableID.NotFound", "routeTable"),
    "Instance": ("InvalidInstanceID.NotFound", "instance"),
    "NetworkInterface": ("InvalidNetworkInterfaceID.NotFound", "networkInterface"),
    "Subnet": ("InvalidSubnetID.NotFound", "subnet"),
    "NetworkAcl": ("InvalidNetworkAclID.NotFound", "networkAcl"),
}


class _History:
    """Versions of one object: parallel lists of times and of views, None where it did not exist."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.times: list[float] = []
        self.views: list[View | None] = []

    def at(self, time: float | None) -> View | None:
        if time is None:
            return self.views[-1]
        index = bisect.bisect_right(self.times, time) - 1
        return self.views[index] if index >= 0 else None

    def add(self, time: float, view: View | None) -> None:
        self.times.append(time)
        self.views.append(view)
        while len(self.times) > 1 and self.times[1] < time - REMEMBERED_SECONDS:
            del self.times[0], self.views[0]


class World:
    """State of one `Aws`. Not thread-safe: `Aws` holds its lock around every use."""

    def __init__(self, backend: Backend, clock: Clock, quotas: Quotas, transition_seconds: float) -> None:
        self.backend = backend
        self.ec2: Any = backend.ec2
        self.clock = clock
        self.quotas = quotas
        self.transition_seconds = transition_seconds
        self.moment = clock.monotonic()
        self.machines: dict[str, tuple[Any, Any]] = {}
        """moto's Instance and its Reservation by instance id, terminated ones included."""
        self.highest: dict[tuple[str, Family], int] = {}
        self._histories: dict[Kind, dict[str, _History]] = {kind: {} for kind in views.KINDS}
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.refresh()

    # --- time ---------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make all changes that are due."""
        now = self.clock.monotonic()
        while self._due and self._due[0][0] <= now:
            self.moment, _, change = heapq.heappop(self._due)
            change()
        self.moment = now

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Schedule a change in some seconds; 0 makes it now."""
        if seconds > 0:
            heapq.heappush(self._due, (self.moment + seconds, next(self._order), change))
        else:
            change()

    # --- reading ------------------------------------------------------------------------------

    def views(self, kind: Kind, as_of: AsOf | None = None) -> dict[str, View]:
        """Return all objects of a kind by id, in order of creation."""
        found = ((id_, history.at(as_of and as_of(id_))) for id_, history in self._histories[kind].items())
        return {id_: view for id_, view in found if view is not None}

    def chosen(self, kind: Kind, ids: Iterable[str], as_of: AsOf | None = None) -> dict[str, View]:
        """Return the objects with these ids. Raises AwsError naming all unknown ones."""
        histories = self._histories[kind]
        found, missing = {}, []
        for id_ in ids:
            view = histories[id_].at(as_of and as_of(id_)) if id_ in histories else None
            if view is None:
                missing.append(id_)
            else:
                found[id_] = view
        if missing:
            raise not_found(kind, *missing)
        return found

    def order(self, kind: Kind, id_: str) -> int:
        """Return a number that grows with the order of creation: the position in a NextToken."""
        return self._histories[kind][id_].order

    def table(self, table_id: str) -> Any:
        """Return moto's route table."""
        return self._known("RouteTable", self.ec2.route_tables.get(table_id), table_id)

    def table_view(self, table_id: str) -> TableView:
        """Return the current view of the route table."""
        return cast(TableView, self._histories["RouteTable"][table_id].at(None))

    def interface(self, eni_id: str) -> Any:
        """Return moto's network interface."""
        return self._known("NetworkInterface", self.ec2.enis.get(eni_id), eni_id)

    def machine(self, instance_id: str) -> Any:
        """Return moto's instance."""
        return self._known("Instance", self.machines.get(instance_id, (None, None))[0], instance_id)

    def subnets(self) -> dict[str, Any]:
        """Return moto's subnets by id."""
        return {subnet.id: subnet for zone in self.ec2.subnets.values() for subnet in zone.values()}

    @staticmethod
    def _known(kind: Kind, found: Any, id_: str) -> Any:
        if found is None:
            raise not_found(kind, id_)
        return found

    # --- recording changes ---------------------------------------------------------------------

    def refresh(self) -> None:
        """Record new views of everything: after an action whose effects only moto knows."""
        self.machines = {
            instance.id: (instance, reservation)
            for reservation in self.ec2.reservations.values()
            for instance in reservation.instances
        }
        self.refresh_tables()
        self.refresh_subnets()
        self._refresh_all("NetworkInterface", self.ec2.enis, self.refresh_interface)
        self._refresh_all("Instance", self.machines, self.refresh_instance)
        self._refresh_all("NetworkAcl", self.ec2.network_acls, self._refresh_acl)

    def _refresh_all(self, kind: Kind, present: Iterable[str], one: Callable[[str], None]) -> None:
        for id_ in dict.fromkeys([*self._histories[kind], *present]):
            one(id_)

    def refresh_tables(self, vpc_id: str | None = None) -> None:
        """Record new views of the route tables, of one VPC or of all."""
        tables = self.ec2.route_tables
        for id_ in [id_ for id_ in self._histories["RouteTable"] if id_ not in tables]:
            self._put("RouteTable", id_, None)
        for table in tables.values():
            if vpc_id in (None, table.vpc_id):
                self._put_table(table)

    def _put_table(self, table: Any) -> None:
        history = self._histories["RouteTable"].get(table.id)
        old = history.at(None) if history else None
        self._put(
            "RouteTable", table.id, views.table_view(self.ec2, table, old if isinstance(old, TableView) else None)
        )

    def refresh_route(self, table_id: str, key: str) -> None:
        """Record one entry: the cheap way after CreateRoute, ReplaceRoute and DeleteRoute."""
        route = self.ec2.route_tables[table_id]._routes.get(key)
        view = None if route is None else views.route_view(self.ec2, key, route)
        self._put("RouteTable", table_id, self.table_view(table_id).with_route(key, view))

    def refresh_subnets(self) -> None:
        """Record new views of the subnets, with their numbers of used addresses."""
        taken = Counter(eni.subnet.id for eni in self.ec2.enis.values() for _ in eni.private_ip_addresses)
        subnets = self.subnets()
        for id_ in [id_ for id_ in self._histories["Subnet"] if id_ not in subnets]:
            self._put("Subnet", id_, None)
        for id_, subnet in subnets.items():
            self._put("Subnet", id_, views.subnet_view(self.ec2, subnet, taken[id_]))

    def refresh_interface(self, eni_id: str) -> None:
        """Record the new view of a network interface."""
        eni = self.ec2.enis.get(eni_id)
        self._put("NetworkInterface", eni_id, None if eni is None else machine_views.interface_view(self.ec2, eni))

    def refresh_instance(self, instance_id: str) -> None:
        """Record the new view of an instance."""
        instance, reservation = self.machines.get(instance_id, (None, None))
        view = None if instance is None else machine_views.instance_view(self.ec2, instance, reservation)
        self._put("Instance", instance_id, view)

    def _refresh_acl(self, acl_id: str) -> None:
        acl = self.ec2.network_acls.get(acl_id)
        self._put("NetworkAcl", acl_id, None if acl is None else acl_views.acl_view(self.ec2, acl, self.subnets()))

    def _put(self, kind: Kind, id_: str, view: View | None) -> None:
        history = self._histories[kind].get(id_)
        if history is None:
            if view is None:
                return
            history = self._histories[kind][id_] = _History(next(self._order))
        elif view.same_as(history.at(None)) if view is not None else history.at(None) is None:
            return
        history.add(self.moment, view)
        if isinstance(view, TableView):
            for family in FAMILIES:
                self.highest[id_, family] = max(self.highest.get((id_, family), 0), view.entries[family])


def not_found(kind: Kind, *ids: str) -> AwsError:
    """Build the error for ids that EC2 does not know."""
    code, noun = NOT_FOUND[kind]
    listed = ", ".join(ids)
    if len(ids) > 1:
        return AwsError(code, f"The {noun} IDs '{listed}' do not exist")
    return AwsError(code, f"The {noun} ID '{listed}' does not exist")


Answer = Mapping[str, Any] | Response
"""Result of an action: wire names to be rendered, or an answer that moto has rendered already."""

Handler = Callable[[World, Request], Answer]
