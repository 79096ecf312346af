"""`ports.Ec2` with boto3: the ten calls, and no others.

The idea: every read is filtered and paginated, which costs least of AWS's throttling budget and does not fail for ids
that EC2 does not know. An answer is what EC2 shows, which may be older than our last write (`core.cluster.pending`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import boto3

from cloudroute.adapters.ec2 import errors, parse
from cloudroute.adapters.ec2.calls import Calls, Method, chunks, open_reader, open_writer
from cloudroute.adapters.ec2.model import lean_session
from cloudroute.adapters.ec2.parse import Raw
from cloudroute.errors import LostRace
from cloudroute.ports import Clock, Fence
from cloudroute.types import Cidr, Family, Instance, InterfaceOwner, RouteTable, Subnet, family_of

_AT_ONCE = 2
"""Concurrent calls of one read: 5,000 instances take 25 calls. More at once would save a second, but each costs 7 MB
while it is decoded, which the process never gives back."""
_QUOTA = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}


class Ec2Client:
    """EC2 and Service Quotas in one region.

    `session` provides credentials and endpoints, None means the environment's. No write is awaited for longer than
    `write_seconds`, which must be below the lease's margin. `observe(action, code, seconds)` is called once for each
    attempt, with code "OK", AWS's error code, or the client's error without an answer ("ReadTimeoutError").
    """

    def __init__(
        self,
        session: boto3.Session | None,
        region: str,
        fence: Fence,
        clock: Clock,
        write_seconds: float,
        observe: Callable[[str, str, float], None],
    ) -> None:
        session = session or lean_session()
        self._ec2 = open_reader(session, "ec2", region)
        self._quotas = open_reader(session, "service-quotas", region)
        self._writer = open_writer(session, region, write_seconds, fence)
        self._calls = Calls(clock, observe)

    def route_tables(self, vpc_id: str) -> Sequence[RouteTable]:
        params = {"Filters": _filter("vpc-id", vpc_id), "MaxResults": 100}
        pages = self._calls.pages("DescribeRouteTables", vpc_id, self._ec2.describe_route_tables, params)
        return [table for page in pages for table in parse.route_tables(page.get("RouteTables") or ())]

    def instances(self, ids: Collection[str]) -> Mapping[str, Instance]:
        def describe(chunk: Sequence[str]) -> Sequence[Instance]:
            # Not the parameter InstanceIds: it fails as a whole for one unknown id, and excludes MaxResults.
            params = {"Filters": _filter("instance-id", *chunk), "MaxResults": 1000}
            pages = self._calls.pages("DescribeInstances", _some(chunk), self._ec2.describe_instances, params)
            return [instance for page in pages for instance in parse.instances(page.get("Reservations") or ())]

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="DescribeInstances") as pool:
            return {instance.id: instance for chunk in pool.map(describe, chunks(ids)) for instance in chunk}

    def owners(self, interface_ids: Collection[str]) -> Mapping[str, InterfaceOwner]:
        found: dict[str, InterfaceOwner] = {}
        for chunk in chunks(interface_ids):
            params = {"Filters": _filter("network-interface.network-interface-id", *chunk), "MaxResults": 1000}
            method = self._ec2.describe_instances
            for page in self._calls.pages("DescribeInstances", _some(chunk), method, params, attempts=1):
                found |= parse.owners(page.get("Reservations") or ())
        return found

    def subnets(self, vpc_id: str) -> Mapping[str, Subnet]:
        params = {"Filters": _filter("vpc-id", vpc_id), "MaxResults": 1000}
        pages = self._calls.pages("DescribeSubnets", vpc_id, self._ec2.describe_subnets, params)
        return {subnet.id: subnet for page in pages for subnet in parse.subnets(page.get("Subnets") or ())}

    def prefix_list_entries(self, ids: Collection[str]) -> Mapping[str, tuple[Family, int]]:
        # A list that EC2 does not describe, for example because its account no longer shares it, fills at least a slot.
        entries: dict[str, tuple[Family, int]] = {id_: (family_of(id_), 1) for id_ in ids}
        method = self._ec2.describe_managed_prefix_lists
        for chunk in chunks(ids):
            params = {"Filters": _filter("prefix-list-id", *chunk), "MaxResults": 100}
            for page in self._calls.pages("DescribeManagedPrefixLists", _some(chunk), method, params):
                entries |= parse.prefix_lists(page.get("PrefixLists") or ())
        return entries

    def route_quota(self) -> int:
        try:
            answer = self._calls.read("GetServiceQuota", _QUOTA["QuotaCode"], self._quotas.get_service_quota, _QUOTA)
        except LostRace:  # no quota of this account's own: the default is in force
            method = self._quotas.get_aws_default_service_quota
            answer = self._calls.read("GetAWSDefaultServiceQuota", _QUOTA["QuotaCode"], method, _QUOTA)
        return int(answer["Quota"]["Value"])

    def create_route(self, table_id: str, destination: Cidr, interface_id: str) -> None:
        self._write_route("CreateRoute", self._writer.create_route, table_id, destination, interface_id)

    def replace_route(self, table_id: str, destination: Cidr, interface_id: str) -> None:
        self._write_route("ReplaceRoute", self._writer.replace_route, table_id, destination, interface_id)

    def delete_route(self, table_id: str, destination: Cidr) -> None:
        try:
            self._write_route("DeleteRoute", self._writer.delete_route, table_id, destination)
        except LostRace as error:
            if not errors.is_missing_route(error):
                raise

    def disable_source_dest_check(self, interface_id: str) -> None:
        params = {"NetworkInterfaceId": interface_id, "SourceDestCheck": {"Value": False}}
        method = self._writer.modify_network_interface_attribute
        self._calls.write("ModifyNetworkInterfaceAttribute", interface_id, method, params)

    def _write_route(self, action: str, method: Method, table_id: str, destination: Cidr, target: str = "") -> None:
        name = "DestinationCidrBlock" if destination.family == "ipv4" else "DestinationIpv6CidrBlock"
        params = {"RouteTableId": table_id, name: str(destination)}
        if target:
            params["NetworkInterfaceId"] = target
        self._calls.write(action, f"{table_id} {destination}", method, params)


def _filter(name: str, *values: str) -> Sequence[Raw]:
    return [{"Name": name, "Values": list(values)}]


def _some(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"
