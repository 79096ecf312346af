"""EC2 for tens of thousands of instances: the methods of boto3's client that cloudroute calls, on plain dicts.

It stands beside the strict layer for its speed. A describe of 200 instances takes 0.04 ms here and 126 ms there, and a
thousand instances take 3 MB here and 93 MB there: at 20,000 nodes each resync would take 13 s, counted as the leader's
CPU, in 2 GB. The storm is on the strict layer, which takes 5 % of the storm's CPU.

It answers as AWS does where a controller that makes no mistake can tell: token buckets, the limit of a table, taken
and missing destinations, blackholes. All else is the strict layer's, beside which it is run (`test_scale.py`).
"""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from cloudroute.lab.aws.throttle import Buckets
from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.ports import Clock

VPC, VPC_CIDR = f"vpc-{1:017x}", "172.16.0.0/16"
MAIN = f"rtb-{0xFFFF:017x}"
Json = dict[str, Any]


def zone_name(number: int) -> str:
    """Of an availability zone."""
    return f"eu-central-1{chr(ord('a') + number)}"


def subnet_id(zone: int) -> str:
    """Of a zone's subnet."""
    return f"subnet-{zone:017x}"


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance as it was launched."""

    id: str
    interface_id: str
    address: str
    zone: int


@dataclass
class LightEc2:
    """A VPC with a subnet in each of `zones` zones, and a route table for each or, with `one_table`, for all.

    `limit` is the real limit of entries per table. While `gone`, nothing answers.
    """

    clock: Clock
    zones: int
    one_table: bool = False
    limit: int = 1000
    gone: bool = False
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of answers by (action, code); code "OK", AWS's code, or "gone"."""
    asked: dict[str, list[float]] = field(default_factory=dict)
    """By action: when the first and the last call was done, seconds of the clock."""

    def __post_init__(self) -> None:
        self.meta = _Meta()
        self._endpoint = SimpleNamespace(http_session=SimpleNamespace(_pool_classes_by_scheme={}))
        self._buckets = Buckets(self.clock.monotonic)
        self._numbers = iter(range(1, 1 << 32))
        length = 16 + (self.zones - 1).bit_length()
        subnets = list(ipaddress.IPv4Network(VPC_CIDR).subnets(new_prefix=length))[: self.zones]
        self._subnets = [
            {"SubnetId": subnet_id(zone), "VpcId": VPC, "AvailabilityZone": zone_name(zone), "CidrBlock": str(subnet)}
            for zone, subnet in enumerate(subnets)
        ]
        self._addresses: list[Iterator[Any]] = [itertools.islice(subnet.hosts(), 3, None) for subnet in subnets]
        self.tables = [f"rtb-{zone:017x}" for zone in range(1 if self.one_table else self.zones)]
        self.routes: dict[str, dict[str, Json]] = {
            table: {VPC_CIDR: {"DestinationCidrBlock": VPC_CIDR, "GatewayId": "local", "State": "active"}}
            for table in (*self.tables, MAIN)
        }
        self.instances: dict[str, Json] = {}
        self._interfaces: dict[str, Json] = {}
        self._leading: dict[str, set[tuple[str, str]]] = {}
        """By ENI: the table and destination of each route that leads there."""

    # --- the scene ------------------------------------------------------------------------------

    def launch(self, zone: int) -> Machine:
        """One more instance, running at once."""
        number = next(self._numbers)
        machine = Machine(f"i-{number:017x}", f"eni-{number:017x}", str(next(self._addresses[zone])), zone)
        interface: Json = {
            "NetworkInterfaceId": machine.interface_id,
            "SubnetId": subnet_id(zone),
            "SourceDestCheck": True,
            "Attachment": {"DeviceIndex": 0},
            "PrivateIpAddress": machine.address,
            "PrivateIpAddresses": [{"PrivateIpAddress": machine.address, "Primary": True}],
        }
        self._interfaces[machine.interface_id] = interface
        self.instances[machine.id] = {
            "InstanceId": machine.id,
            "State": {"Name": "running"},
            "VpcId": VPC,
            "Placement": {"AvailabilityZone": zone_name(zone)},
            "NetworkInterfaces": [interface],
        }
        return machine

    def terminate(self, machine: Machine) -> None:
        """The instance ends, and what leads to it leads nowhere."""
        self.instances[machine.id] |= {"State": {"Name": "terminated"}, "NetworkInterfaces": []}
        self._interfaces.pop(machine.interface_id)
        for table, destination in self._leading.get(machine.interface_id, ()):
            self.routes[table][destination]["State"] = "blackhole"

    def leads_to(self, table: str, destination: str) -> str:
        """The ENI that a table's active route leads to; "" when there is none."""
        route = self.routes[table].get(destination)
        return route["NetworkInterfaceId"] if route and route["State"] == "active" else ""

    def aggregates_to(self, interface_id: str) -> int:
        """Number of routes, in all tables, that lead more than one node's pod CIDR to an ENI."""
        routes = [route for table in self.routes.values() for route in table.values()]
        ours = [route for route in routes if route.get("NetworkInterfaceId") == interface_id]
        return sum(not route["DestinationCidrBlock"].endswith("/24") for route in ours)

    # --- boto3 ----------------------------------------------------------------------------------

    def client(self, *_: object, **__: object) -> LightEc2:
        """As a session gives it, for EC2 and for Service Quotas."""
        return self

    def describe_instances(self, *, Filters: list[Json], MaxResults: int) -> Json:  # noqa: N803 - boto3's names
        """By instance id; nobody asks whose an interface is where no route leads to an unknown owner's."""
        assert Filters[0]["Name"] == "instance-id", Filters
        assert len(Filters[0]["Values"]) <= 200
        with self._call("DescribeInstances"):
            found = [self.instances[id_] for id_ in Filters[0]["Values"] if id_ in self.instances]
            return {"Reservations": [{"Instances": found}]}

    def describe_route_tables(self, *, Filters: list[Json], MaxResults: int) -> Json:  # noqa: N803
        """All of the VPC."""
        with self._call("DescribeRouteTables"):
            return {"RouteTables": [self._table(table) for table in self.routes]}

    def _table(self, table: str) -> Json:
        if table == MAIN:
            associations: list[Json] = [{"Main": True}]
        else:
            own = self._subnets if self.one_table else [self._subnets[self.tables.index(table)]]
            associations = [{"Main": False, "SubnetId": subnet["SubnetId"]} for subnet in own]
        routes = [dict(route) for route in self.routes[table].values()]
        return {"RouteTableId": table, "VpcId": VPC, "Associations": associations, "Routes": routes}

    def describe_subnets(self, *, Filters: list[Json], MaxResults: int) -> Json:  # noqa: N803
        """All of the VPC."""
        with self._call("DescribeSubnets"):
            return {"Subnets": self._subnets}

    def describe_managed_prefix_lists(self, **_: object) -> Json:
        """There are none."""
        raise NotImplementedError

    get_service_quota = get_aws_default_service_quota = describe_managed_prefix_lists

    def create_route(self, *, RouteTableId: str, DestinationCidrBlock: str, NetworkInterfaceId: str) -> Json:  # noqa: N803
        """CreateRoute."""
        with self._call("CreateRoute"):
            routes = self.routes[RouteTableId]
            if DestinationCidrBlock in routes:
                raise AwsError("RouteAlreadyExists", DestinationCidrBlock)
            if len(routes) >= self.limit:
                raise AwsError("RouteLimitExceeded", RouteTableId)
            self._put(RouteTableId, DestinationCidrBlock, NetworkInterfaceId)
        return {}

    def replace_route(self, *, RouteTableId: str, DestinationCidrBlock: str, NetworkInterfaceId: str) -> Json:  # noqa: N803
        """ReplaceRoute."""
        with self._call("ReplaceRoute"):
            if DestinationCidrBlock not in self.routes[RouteTableId]:
                raise AwsError("InvalidParameterValue", DestinationCidrBlock)
            self._put(RouteTableId, DestinationCidrBlock, NetworkInterfaceId)
        return {}

    def delete_route(self, *, RouteTableId: str, DestinationCidrBlock: str) -> Json:  # noqa: N803
        """DeleteRoute."""
        with self._call("DeleteRoute"):
            if DestinationCidrBlock not in self.routes[RouteTableId]:
                raise AwsError("InvalidRoute.NotFound", DestinationCidrBlock)
            self._drop(RouteTableId, DestinationCidrBlock)
        return {}

    def modify_network_interface_attribute(self, *, NetworkInterfaceId: str, SourceDestCheck: Json) -> Json:  # noqa: N803
        """The source/dest check."""
        with self._call("ModifyNetworkInterfaceAttribute"):
            if NetworkInterfaceId not in self._interfaces:
                raise AwsError("InvalidNetworkInterfaceID.NotFound", NetworkInterfaceId)
            self._interfaces[NetworkInterfaceId]["SourceDestCheck"] = SourceDestCheck["Value"]
        return {}

    def _put(self, table: str, destination: str, interface: str) -> None:
        if interface not in self._interfaces:
            raise AwsError("InvalidNetworkInterfaceID.NotFound", interface)
        if destination in self.routes[table]:
            self._drop(table, destination)
        self.routes[table][destination] = {
            "DestinationCidrBlock": destination, "NetworkInterfaceId": interface, "State": "active",
        }  # fmt: skip
        self._leading.setdefault(interface, set()).add((table, destination))

    def _drop(self, table: str, destination: str) -> None:
        gone = self.routes[table].pop(destination)
        self._leading[gone["NetworkInterfaceId"]].discard((table, destination))

    def _call(self, action: str) -> _Call:
        if self.gone:
            self.calls[action, "gone"] += 1
            raise EndpointConnectionError(endpoint_url="https://ec2.eu-central-1.amazonaws.com")
        return _Call(self, action, _REQUESTS[action])

    def admit(self, request: Request) -> None:
        """Take a token of AWS's bucket. Raises AwsError."""
        self._buckets.take(request)


class _Call:
    """One call: admitted, counted, and its error as boto3 raises it."""

    def __init__(self, ec2: LightEc2, action: str, request: Request) -> None:
        self._ec2, self._action, self._request = ec2, action, request

    def __enter__(self) -> None:
        try:
            self._ec2.admit(self._request)
        except AwsError as error:
            raise self._count(error) from error

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, AwsError):
            raise self._count(error) from error
        if error is None:
            ec2 = self._ec2
            ec2.calls[self._action, "OK"] += 1
            now = ec2.clock.monotonic()
            ec2.asked.setdefault(self._action, [now, now])[1] = now

    def _count(self, error: AwsError) -> ClientError:
        self._ec2.calls[self._action, error.code] += 1
        answer: Any = {
            "Error": {"Code": error.code, "Message": error.message},
            "ResponseMetadata": {"HTTPStatusCode": error.status},
        }
        return ClientError(answer, self._action)


class _Meta:
    """`client.meta.events`: where the fence is hung up. `ports.Ec2`'s own check stands before it."""

    @property
    def events(self) -> _Meta:
        return self

    def register_first(self, _event: str, _handler: Callable[..., None]) -> None:
        return


def _request(action: str) -> Request:
    params: Mapping[str, str] = {"MaxResults": "1000"} if action.startswith("Describe") else {}
    return Request("ec2", action, params, "", "")


_REQUESTS = {
    action: _request(action)
    for action in (
        "DescribeInstances", "DescribeRouteTables", "DescribeSubnets", "CreateRoute", "ReplaceRoute", "DeleteRoute",
        "ModifyNetworkInterfaceAttribute",
    )
}  # fmt: skip
