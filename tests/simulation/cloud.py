"""EC2 in this process: the strict layer of the lab, and the requests of controllers' boto3 clients on virtual time.

boto3's clients and a VPC with its tables take long to make and are the same in each scenario. They are made once,
before the scenarios are forked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import boto3
from botocore import hooks, useragent
from botocore.exceptions import ClientError, ReadTimeoutError

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.controller import NoLease
from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.inprocess import make_session
from cloudroute.lab.aws.scene import Machine, Vpc, Zone
from cloudroute.lab.aws.wire import Request, Response
from cloudroute.types import Family
from tests.simulation.describes import Describes
from tests.simulation.network import Link, Lost
from tests.simulation.scheduler import START

SLOTS = 3
"""Greatest number of replicas of the controller."""
SPARE = 3
"""Instances that run in each zone before a scenario begins."""
WRITE_SECONDS = 3.75
"""Seconds that a write may take: three quarters of the lease's margin. Its answer is awaited for two thirds of that."""
WRITE_TIMEOUT, READ_TIMEOUT = 2.5, 20.0
"""Seconds that the controller's clients wait for an answer."""
LAYOUTS = {
    "zones": (2, False, False, 0), "one table": (2, True, False, 0), "dual": (2, False, True, 0),
    "mixed": (2, False, True, 1),
}  # fmt: skip
"""Name -> number of zones, whether they share a table, whether they have IPv6, how many have IPv6 alone."""
WRITES = ("CreateRoute", "ReplaceRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute")


class SwitchedClock:
    """A clock whose functions are replaced when the scenario begins."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = lambda: START
        self.now: Callable[[], float] = lambda: START + 1_790_000_000
        self.sleep: Callable[[float], None] = lambda _: None


class _Parsers:
    """botocore's parsers with a cache of parsed answers: describes of an idle world are all alike."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._known: dict[tuple[int, bytes, str], Mapping[str, Any]] = {}

    def create_parser(self, protocol: str) -> _Parsers:
        self._parser = self._factory.create_parser(protocol)
        return self

    def parse(self, response: Mapping[str, Any], shape: Any) -> dict[str, Any]:
        key = (response["status_code"], response["body"], shape.name if shape else "")
        if key not in self._known:
            self._known[key] = self._parser.parse(response, shape)
        found = self._known[key]
        return {**found, "ResponseMetadata": dict(found["ResponseMetadata"])}


class Ec2Clients:
    """The boto3 clients of one replica, made once; each process of the replica uses them in turn."""

    def __init__(self, region: str) -> None:
        self.clock = SwitchedClock()
        self.answer: Callable[[Request], Response] = lambda _: Response(500, b"")
        session = make_session(lambda request: self.answer(request), self.clock, region, "AKIALABROOTUSER00000")
        self._session = session
        self._clients: dict[tuple[str, float], Any] = {}
        """(service, read timeout in seconds) -> client."""
        self._pools: dict[tuple[str, float], Mapping[str, Any]] = {}
        """The same keys -> classes of its connection pools, without a fence."""
        self._fences: list[tuple[Any, str, Any]] = []

    def client(self, service: str, config: Any) -> Any:
        """As boto3.Session.client; removes the fence of the process that used the client before."""
        key = (service, config.read_timeout)
        if key not in self._clients:
            client = self._session.client(service, config=config)  # type: ignore[call-overload]
            client._endpoint._response_parser_factory = _Parsers(client._endpoint._response_parser_factory)
            self._clients[key] = client
            self._pools[key] = dict(client._endpoint.http_session._pool_classes_by_scheme)
            first = client.meta.events.register_first

            def register(name: str, handler: Any) -> None:
                self._fences.append((client, name, handler))
                first(name, handler)

            client.meta.events.register_first = register
        for fenced in [one for one in self._fences if one[0] is self._clients[key]]:
            fenced[0].meta.events.unregister(*fenced[1:])
            self._fences.remove(fenced)
        self._clients[key]._endpoint.http_session._pool_classes_by_scheme.update(self._pools[key])
        return self._clients[key]

    def open(self, region: str) -> tuple[Any, Any, Any]:
        """Clients for reads of EC2, for its writes and for Service Quotas, as an Ec2Client opens them."""
        Ec2Client(self.session, region, NoLease(), self.clock, WRITE_SECONDS, lambda *_: None)
        return self._reader, self._writer, self._clients["service-quotas", READ_TIMEOUT]

    def connect(self) -> None:
        """Open a new connection for a write, which checks the fence; `seams` leaves out its socket."""
        pools = self._writer._endpoint.http_session._pool_classes_by_scheme
        pools["https"].ConnectionCls("ec2").connect()

    @property
    def _reader(self) -> Any:
        return self._clients["ec2", READ_TIMEOUT]

    @property
    def _writer(self) -> Any:
        return self._clients["ec2", WRITE_TIMEOUT]

    @property
    def session(self) -> boto3.Session:
        """This object, as the session of an Ec2Client."""
        return self  # type: ignore[return-value] # an Ec2Client calls `client` alone


class Cloud:
    """One account with a VPC, made before the scenarios."""

    def __init__(self, layout: str) -> None:
        zones, one_table, ipv6, ipv6_only = LAYOUTS[layout]
        self.clock = SwitchedClock()
        self.aws = Aws(clock=self.clock, throttle=True)
        self.vpc: Vpc = self.aws.scene.vpc(zones=zones, one_table=one_table, ipv6=ipv6, ipv6_only=ipv6_only)
        made = self.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.vpc.id)
        self.gateway = str(made)
        """Id of the Internet gateway, the target of foreign routes."""
        self._spare = {zone.subnet_id: list(self.aws.scene.launch(zone, SPARE)) for zone in self.vpc.zones}
        self.clients = [Ec2Clients(self.aws.region) for _ in range(SLOTS)]

    def launch(self, zone: Zone, spare: bool) -> Machine:
        """Launch an instance, or take one that runs already (`spare`): a launch costs as much as five calls."""
        waiting = self._spare[zone.subnet_id]
        return waiting.pop() if spare and waiting else self.aws.scene.launch(zone)[0]

    def rehearse(self) -> None:
        """Make each call once with each client: botocore loads the shape of a call when it is first made."""
        table, eni = self.vpc.route_table_ids[0], next(iter(self._spare.values()))[0].interface_id
        route = {"RouteTableId": table, "DestinationCidrBlock": "192.0.2.0/24"}
        self.aws.set_route_quota(50)
        for clients in self.clients:
            clients.answer = self.aws.answer
            reader, writer, quotas = clients.open(self.aws.region)
            writer.create_route(**route, NetworkInterfaceId=eni)
            writer.replace_route(**route, GatewayId=self.gateway)
            writer.delete_route(**route)
            writer.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": True})
            for describe in (reader.describe_route_tables, reader.describe_subnets, reader.describe_instances):
                describe(Filters=[{"Name": "vpc-id", "Values": [self.vpc.id]}], MaxResults=100)
            quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-93826ACB")
            with suppress(ClientError):
                writer.delete_route(**route)  # parses an error once

    # --- the state now, even when describes show an older one ------------------------------

    def routes(self, table_id: str) -> Mapping[str, tuple[str, bool]]:
        """Destination -> target, and whether the route is active."""
        found = {}
        for view in self.aws._world.table_view(table_id).routes.values():
            fields = view.fields
            to = str(fields.get("destinationCidrBlock") or fields.get("destinationIpv6CidrBlock"))
            target = str(fields.get("networkInterfaceId") or fields.get("gatewayId") or "")
            found[to] = (target, fields["state"] == "active")
        return found

    def used(self, table_id: str) -> Mapping[Family, int]:
        """Number of entries by family."""
        return dict(self.aws._world.table_view(table_id).entries)

    def checked(self, interface_id: str) -> bool:
        """Whether an interface has its source/dest check on."""
        found = self.aws._world.ec2.enis.get(interface_id)
        return found is None or bool(found.source_dest_check)

    def takes(self, interface_id: str, destination: str) -> bool:
        """Whether an interface can receive packets of that family; IPv4 takes an IPv4 address."""
        found = self.aws._world.ec2.enis.get(interface_id)
        return ":" in destination or found is None or bool(found.private_ip_addresses)

    def state(self, instance_id: str) -> str:
        """The state of an instance."""
        return str(self.aws._world.machine(instance_id).state)


useragent.sanitize_user_agent_string_component = lru_cache(1 << 10)(useragent.sanitize_user_agent_string_component)
hooks.EventAliaser._alias_event_name = lru_cache(1 << 10)(  # type: ignore[attr-defined] # not in the stubs
    hooks.EventAliaser._alias_event_name  # type: ignore[attr-defined] # not in the stubs
)
ipaddress.ip_network = lru_cache(1 << 10)(ipaddress.ip_network)
ipaddress.ip_address = lru_cache(1 << 10)(ipaddress.ip_address)
"""Cached because they are called with few distinct arguments, and take a twentieth of the time each."""

OnWrite = Callable[[str, Request, Response, Mapping[str, tuple[str, bool]]], None]
OnConfirmed = Callable[[str, Request, Response], None]


class Ec2Requests:
    """Sends the EC2 requests of one process over its link.

    `on_write` is called after each write, with the routes of the table before it, and `on_confirmed` once its answer is
    sure to reach the process.
    """

    def __init__(
        self,
        cloud: Cloud,
        clients: Ec2Clients,
        link: Link,
        on_write: OnWrite,
        on_confirmed: OnConfirmed,
        describes: Describes,
    ) -> None:
        self._cloud, self._clients, self._link, self._describes = cloud, clients, link, describes
        self._on_write, self._on_confirmed = on_write, on_confirmed
        self.seen_as_of = 0.0
        """Time of the oldest state of a table that the last read of the tables has shown."""
        self.seen_at = 0.0
        """Time at which the answer of that read arrived."""
        self.lookup = 0.0
        """Duration of the name lookup of each new connection for a write, in seconds."""
        self.freezes: tuple[int, float] | None = None
        """The write, counted from now, in whose name lookup the process freezes, and the seconds; None for no write."""
        self.delayed = 0.0
        """Seconds that lookups have taken since the last read of the tables."""

    def answer(self, request: Request) -> Response:
        """Send a request and wait for its answer. Raises ReadTimeoutError without one."""
        write = request.action in WRITES
        who = self._link.group.name
        shown = 0.0
        if write:
            self._look_up()

        def serve() -> Response:
            nonlocal shown
            table = request.get("RouteTableId")
            before = self._cloud.routes(table) if write and table else {}
            response = self._cloud.aws.answer(request if write else replace(request, as_of=self._describes.as_of))
            if write:
                self._on_write(who, request, response, before)
            elif request.action == "DescribeRouteTables":
                shown = min(map(self._describes.shown, self._cloud.vpc.route_table_ids))
            return response

        try:
            response = self._link.ask(serve, WRITE_TIMEOUT if write else READ_TIMEOUT, write)
        except Lost:
            raise ReadTimeoutError(endpoint_url="ec2") from None
        arrives = response.fate == "arrives" and response.delay < (WRITE_TIMEOUT if write else READ_TIMEOUT)
        if write and arrives:
            self._on_confirmed(who, request, response)
        if request.action == "DescribeRouteTables" and response.status == 200 and arrives:
            self.seen_as_of, self.seen_at = shown, self._link.scheduler.now + response.delay
            self.delayed = 0.0
        return response

    def _look_up(self) -> None:
        """Wait for the name lookup, where that takes time, and open the connection, which checks the fence again."""
        seconds = self.lookup
        if self.freezes:
            writes, frozen = self.freezes
            self.freezes = (writes - 1, frozen) if writes > 1 else None
            if writes == 1:
                seconds = frozen
                self._link.group.paused_until = self._link.scheduler.now + frozen
        if seconds:
            self.delayed += seconds
            self._link.scheduler.park(seconds)
            self._clients.connect()
