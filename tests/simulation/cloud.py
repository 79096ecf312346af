"""EC2 in this process: the strict layer of the lab, and what a controller's boto3 client asks of it on virtual time.

What takes long and knows nothing of a story - boto3's clients, a VPC with its tables - is made once, before stories are
told: each is told in a fork of that process.
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
from tests.simulation.network import Link, Lost
from tests.simulation.scheduler import START

SLOTS = 3
SPARE = 3
"""Instances that run in each zone before a story begins."""
WRITE_SECONDS = 3.75
"""Three quarters of the lease's margin: a write's answer is awaited for two thirds of that."""
WRITE_TIMEOUT, READ_TIMEOUT = 2.5, 20.0
"""Of the controller's clients."""
LAYOUTS = {
    "zones": (2, False, False, 0), "one table": (2, True, False, 0), "dual": (2, False, True, 0),
    "mixed": (2, False, True, 1),
}  # fmt: skip
"""By name: zones, whether they share a table, IPv6, how many of them have nothing else."""
WRITES = ("CreateRoute", "ReplaceRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute")


class SwitchedClock:
    """A clock that is replaced when the story begins."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = lambda: START
        self.now: Callable[[], float] = lambda: START + 1_790_000_000
        self.sleep: Callable[[float], None] = lambda _: None


class _Parsers:
    """botocore's parsers, which read the same answer once: describes of an idle world are all alike."""

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


class Seat:
    """The boto3 clients of one replica, made once; whoever has the seat in a story asks through them."""

    def __init__(self, region: str) -> None:
        self.clock = SwitchedClock()
        self.answer: Callable[[Request], Response] = lambda _: Response(500, b"")
        session = make_session(lambda request: self.answer(request), self.clock, region, "AKIALABROOTUSER00000")
        self._session = session
        self._clients: dict[tuple[str, float], Any] = {}
        """By service and read timeout."""
        self._pools: dict[tuple[str, float], Mapping[str, Any]] = {}
        """Classes of their connections, without a fence."""
        self._fences: list[tuple[Any, str, Any]] = []

    def client(self, service: str, config: Any) -> Any:
        """As boto3.Session.client; the fence of who had the seat before is taken off."""
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
        """The clients for reads of EC2, for its writes and of Service Quotas, as an Ec2Client opens them."""
        Ec2Client(self.session, region, NoLease(), self.clock, WRITE_SECONDS, lambda *_: None)
        return self._reader, self._writer, self._clients["service-quotas", READ_TIMEOUT]

    def connect(self) -> None:
        """A new connection for a write stands: that its socket is opened is left out (`seams`)."""
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
        """What an Ec2Client takes for a session."""
        return self  # type: ignore[return-value] # `client` is all that it asks of one


class Cloud:
    """One account with a VPC, made before the story."""

    def __init__(self, layout: str) -> None:
        zones, one_table, ipv6, ipv6_only = LAYOUTS[layout]
        self.clock = SwitchedClock()
        self.aws = Aws(clock=self.clock, throttle=True)
        self.vpc: Vpc = self.aws.scene.vpc(zones=zones, one_table=one_table, ipv6=ipv6, ipv6_only=ipv6_only)
        made = self.aws.scene.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.aws.scene.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.vpc.id)
        self.gateway = str(made)
        """Where foreign routes lead."""
        self._spare = {zone.subnet_id: list(self.aws.scene.launch(zone, SPARE)) for zone in self.vpc.zones}
        self.seats = [Seat(self.aws.region) for _ in range(SLOTS)]

    def launch(self, zone: Zone, spare: bool) -> Machine:
        """An instance; a `spare` one runs already, while there are any: to start one takes as long as five calls."""
        waiting = self._spare[zone.subnet_id]
        return waiting.pop() if spare and waiting else self.aws.scene.launch(zone)[0]

    def rehearse(self) -> None:
        """Let each client make each call once: botocore reads the shape of a call when it is first made."""
        table, eni = self.vpc.route_table_ids[0], next(iter(self._spare.values()))[0].interface_id
        route = {"RouteTableId": table, "DestinationCidrBlock": "192.0.2.0/24"}
        self.aws.set_route_quota(50)
        for seat in self.seats:
            seat.answer = self.aws.answer
            reader, writer, quotas = seat.open(self.aws.region)
            writer.create_route(**route, NetworkInterfaceId=eni)
            writer.replace_route(**route, GatewayId=self.gateway)
            writer.delete_route(**route)
            writer.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": True})
            for describe in (reader.describe_route_tables, reader.describe_subnets, reader.describe_instances):
                describe(Filters=[{"Name": "vpc-id", "Values": [self.vpc.id]}], MaxResults=100)
            quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-93826ACB")
            with suppress(ClientError):
                writer.delete_route(**route)  # what a refusal is like

    # --- the truth, whatever a describe shows -----------------------------------------------

    def routes(self, table_id: str) -> Mapping[str, tuple[str, bool]]:
        """By destination: target, and whether it takes traffic."""
        found = {}
        for view in self.aws._world.table_view(table_id).routes.values():
            fields = view.fields
            to = str(fields.get("destinationCidrBlock") or fields.get("destinationIpv6CidrBlock"))
            target = str(fields.get("networkInterfaceId") or fields.get("gatewayId") or "")
            found[to] = (target, fields["state"] == "active")
        return found

    def used(self, table_id: str) -> Mapping[Family, int]:
        """Entries by family."""
        return dict(self.aws._world.table_view(table_id).entries)

    def checked(self, interface_id: str) -> bool:
        """Whether an interface has its source/dest check on."""
        found = self.aws._world.ec2.enis.get(interface_id)
        return found is None or bool(found.source_dest_check)

    def takes(self, interface_id: str, destination: str) -> bool:
        """Whether an interface can be handed packets of that family: none of IPv4 without an IPv4 address."""
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
"""They are asked for the same words again and again, and take a twentieth of a story each."""

Look = Callable[[str, Request, Response, Mapping[str, tuple[str, bool]]], None]


class Line:
    """What a replica's requests go through. `look` is told of every write when it is done, with the table
    before; `shown` is the moment of the world that describes show."""

    def __init__(self, cloud: Cloud, seat: Seat, link: Link, look: Look, shown: Callable[[], float]) -> None:
        self._cloud, self._seat, self._link, self._look, self._shown = cloud, seat, link, look, shown
        self.seen_as_of = 0.0
        """The time of the world that the last reading of the tables has shown."""
        self.seen_at = 0.0
        """When its answer came."""
        self.lookup = 0.0
        """Seconds that the name lookup takes of each new connection for a write."""
        self.freezes: tuple[int, float] | None = None
        """The write, counted from now, in whose name lookup the process freezes, and for how many seconds."""
        self.delayed = 0.0
        """Seconds that lookups have taken since the last reading of the tables."""

    def answer(self, request: Request) -> Response:
        """Send a request and wait for its answer; what is lost on the way hangs."""
        write = request.action in WRITES
        who = self._link.group.name
        shown = 0.0
        if write:
            self._look_up()

        def serve() -> Response:
            nonlocal shown
            table = request.get("RouteTableId")
            before = self._cloud.routes(table) if write and table else {}
            shown = self._shown()
            stale = not write and shown < self._link.scheduler.now
            response = self._cloud.aws.answer(replace(request, as_of=shown) if stale else request)
            if write:
                self._look(who, request, response, before)
            return response

        try:
            response = self._link.ask(serve, WRITE_TIMEOUT if write else READ_TIMEOUT, write)
        except Lost:
            raise ReadTimeoutError(endpoint_url="ec2") from None
        arrives = response.fate == "arrives" and response.delay < READ_TIMEOUT
        if request.action == "DescribeRouteTables" and response.status == 200 and arrives:
            self.seen_as_of, self.seen_at = shown, self._link.scheduler.now + response.delay
            self.delayed = 0.0
        return response

    def _look_up(self) -> None:
        """A new connection's name lookup, where that takes time; the client may then think again."""
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
            self._seat.connect()
