"""EC2 in this process: the strict layer of the lab, and the requests of controllers on virtual time.

A VPC with its tables takes long to make and is the same in each scenario. It is made once, before the scenarios are
forked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from botocore import parsers, serialize
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.loaders import create_loader
from botocore.model import ServiceModel

from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.scene import Machine, Vpc, Zone
from cloudroute.lab.aws.views import TableView
from cloudroute.lab.aws.wire import Request, Response
from cloudroute.ports import EC2_WRITES
from cloudroute.types import Family
from tests.simulation.describes import Describes
from tests.simulation.network import Link, Lost
from tests.simulation.scheduler import START

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
URL = "https://ec2.eu-central-1.amazonaws.com/"


class SwitchedClock:
    """A clock whose functions are replaced when the scenario begins."""

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = lambda: START
        self.now: Callable[[], float] = lambda: START + 1_790_000_000
        self.sleep: Callable[[float], None] = lambda _: None


class Client:
    """A client of boto3 for EC2, from its parameters to its answer, without a signature, HTTP and an event system.

    Parameters are validated and packed, and answers parsed, by botocore.
    """

    def __init__(self, config: Config, send: Callable[[Request, float], Response]) -> None:
        self._timeout = float(config.read_timeout)  # type: ignore[attr-defined] # not in the stubs
        self._send = send
        self._checks: dict[str, Callable[[], None]] = {}
        """Action -> check of the fence before it is sent."""
        self.pools: dict[str, Any] = {"https": _Pool}
        self.meta = SimpleNamespace(events=SimpleNamespace(register_first=self._register))
        self._endpoint = SimpleNamespace(http_session=SimpleNamespace(_pool_classes_by_scheme=self.pools))

    def _register(self, event: str, check: Callable[[], None]) -> None:
        self._checks[event.rpartition(".")[2]] = check

    def __getattr__(self, method: str) -> Callable[..., Mapping[str, Any]]:
        action = "".join(map(str.capitalize, method.split("_")))
        return lambda **params: self._call(action, params)

    def _call(self, action: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        packed = _SERIALIZER.serialize_to_request(params, _MODEL.operation_model(action))["body"]
        if check := self._checks.get(action):
            check()
        query = {name: str(value) for name, value in packed.items()}
        response = self._send(Request("ec2", action, query, "", ""), self._timeout)
        answer = _parsed(response.status, response.body, action)
        if response.status >= 300:
            raise ClientError(answer, action)  # type: ignore[arg-type] # a dict
        return answer


class _Connection:
    """A connection without a socket."""

    def connect(self) -> None:
        """Do nothing: the fence's check is what follows."""


class _Pool:
    ConnectionCls = _Connection


_MODEL = ServiceModel(create_loader().load_service_model("ec2", "service-2"), "ec2")
_SERIALIZER = serialize.create_serializer("ec2")
_PARSER = parsers.create_parser("ec2")


@lru_cache(1 << 10)
def _parsed(status: int, body: bytes, action: str) -> Mapping[str, Any]:
    """Parse an answer; describes of an idle cluster are all alike."""
    raw = {"status_code": status, "headers": {}, "body": body}
    shape = _MODEL.operation_model(action).output_shape
    answer: Mapping[str, Any] = _PARSER.parse(raw, shape)  # type: ignore[arg-type] # None: it has no fields
    return answer


@lru_cache(64)
def _routes(table: TableView) -> Mapping[str, tuple[str, bool]]:
    """Destination -> target, and whether the route is active; a view never changes, and is asked for often."""
    found = {}
    for view in table.routes.values():
        fields = view.fields
        to = str(fields.get("destinationCidrBlock") or fields.get("destinationIpv6CidrBlock"))
        target = str(fields.get("networkInterfaceId") or fields.get("gatewayId") or "")
        found[to] = (target, fields["state"] == "active")
    return found


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

    def launch(self, zone: Zone, *, spare: bool) -> Machine:
        """Launch an instance, or take one that runs already (`spare`): a launch costs as much as five calls."""
        waiting = self._spare[zone.subnet_id]
        return waiting.pop() if spare and waiting else self.aws.scene.launch(zone)[0]

    # --- the state now, even when describes show an older one ------------------------------

    def routes(self, table_id: str) -> Mapping[str, tuple[str, bool]]:
        """Destination -> target, and whether the route is active."""
        return _routes(self.aws.world.table_view(table_id))

    def used(self, table_id: str) -> Mapping[Family, int]:
        """Number of entries by family."""
        return dict(self.aws.world.table_view(table_id).entries)

    def checked(self, interface_id: str) -> bool:
        """Whether an interface has its source/dest check on."""
        found = self.aws.world.ec2.enis.get(interface_id)
        return found is None or bool(found.source_dest_check)

    def takes(self, interface_id: str, destination: str) -> bool:
        """Whether an interface can receive packets of that family; IPv4 takes an IPv4 address."""
        found = self.aws.world.ec2.enis.get(interface_id)
        return ":" in destination or found is None or bool(found.private_ip_addresses)

    def state(self, instance_id: str) -> str:
        """The state of an instance."""
        return str(self.aws.world.machine(instance_id).state)


ipaddress.ip_network = lru_cache(1 << 10)(ipaddress.ip_network)
ipaddress.ip_address = lru_cache(1 << 10)(ipaddress.ip_address)
"""Cached because they are called with few distinct arguments, and take a twentieth of the time each."""

OnWrite = Callable[[str, Request, Response, Mapping[str, tuple[str, bool]]], None]
OnConfirmed = Callable[[str, Request, Response], None]


class Ec2Requests:
    """Sends the EC2 requests of one process over its link, and is the session that gives its clients.

    `on_write` is called after each write, with the routes of the table before it, and `on_confirmed` once its answer is
    sure to reach the process.
    """

    def __init__(
        self, cloud: Cloud, link: Link, on_write: OnWrite, on_confirmed: OnConfirmed, describes: Describes
    ) -> None:
        self._cloud, self._link, self._describes = cloud, link, describes
        self._on_write, self._on_confirmed = on_write, on_confirmed
        self._writer: Client
        self.seen_as_of = 0.0
        """Time of the oldest state of a table that the last read of the tables has shown."""
        self.seen_at = 0.0
        """Time at which the answer of that read arrived."""
        self.lookup = 0.0
        """Duration of the name lookup of each new connection for a write, in seconds."""
        self.freezes: tuple[int, float] | None = None
        """The write, counted from now, in whose name lookup the process freezes, and the seconds; None for no write."""
        self.hung_until = 0.0
        """Time until which the last request without an answer was waited for."""
        self.delayed = 0.0
        """Seconds that lookups have taken since the last read of the tables."""

    def client(self, service: str, config: Config) -> Client:
        """As boto3.Session.client; an Ec2Client opens the client for its writes last."""
        self._writer = Client(config, self._send)
        return self._writer

    def _send(self, request: Request, timeout: float) -> Response:
        """Send a request and wait for its answer. Raises what botocore does without one."""
        if request.action in EC2_WRITES:
            self._look_up()
        response = self._ask(request)
        if response.fate == "hang" or response.delay >= timeout:
            self.hung_until = self._link.scheduler.now + timeout
            self._link.scheduler.park(timeout)
            raise ReadTimeoutError(endpoint_url=URL)
        if response.delay:
            self._link.scheduler.park(response.delay)
        if response.fate == "cut":
            raise ConnectionClosedError(endpoint_url=URL)
        return response

    def _ask(self, request: Request) -> Response:
        write = request.action in EC2_WRITES
        who = self._link.group.name
        shown = 0.0

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
            response = self._link.ask(serve, WRITE_TIMEOUT if write else READ_TIMEOUT, write=write)
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
            self._writer.pools["https"].ConnectionCls().connect()
