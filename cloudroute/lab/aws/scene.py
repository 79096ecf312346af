"""A builder for tests and the demo: a VPC with zones, instances launched and terminated. All by real EC2 calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3

IMAGE = "ami-12345678"


@dataclass(frozen=True, slots=True)
class Zone:
    """A subnet in an availability zone and the route table that it uses. `cidrs`: IPv4 then IPv6, or one of them."""

    name: str
    subnet_id: str
    route_table_id: str
    cidrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC. `main_table_id` is used by no subnet of `zones`."""

    id: str
    cidrs: tuple[str, ...]
    main_table_id: str
    zones: tuple[Zone, ...]

    @property
    def route_table_ids(self) -> tuple[str, ...]:
        """Tables of the zones, without repeats."""
        return tuple(dict.fromkeys(zone.route_table_id for zone in self.zones))


@dataclass(frozen=True, slots=True)
class Machine:
    """A launched instance. `interface_id` is its primary ENI, `addresses` are that ENI's: IPv4, then IPv6."""

    id: str
    interface_id: str
    interface_ids: tuple[str, ...]
    zone: Zone
    addresses: tuple[str, ...]

    @property
    def provider_id(self) -> str:
        """`spec.providerID` of the Node, as the cloud provider writes it."""
        return f"aws:///{self.zone.name}/{self.id}"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Objects that EKS puts into a VPC: interfaces in two subnets, and the cluster security group that they have."""

    group_id: str
    interface_ids: tuple[str, ...]


class Scene:
    """Builds VPCs and instances with the EC2 client of a session."""

    def __init__(self, session: boto3.Session) -> None:
        self._session = session

    @cached_property
    def ec2(self) -> Any:
        """The EC2 client in use; for everything without a method here."""
        return self._session.client("ec2")

    def vpc(
        self,
        cidr: str = "10.0.0.0/16",
        zones: int = 3,
        *,
        ipv6: bool = False,
        ipv6_only: int = 0,
        one_table: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> Vpc:
        """Create a VPC with a /20 subnet in each of `zones` zones, and a route table per zone (or one), tagged `tags`.

        With `ipv6` it has a /56 of Amazon's addresses too and each subnet a /64; the last `ipv6_only` have no IPv4.
        """
        made = self.ec2.create_vpc(CidrBlock=cidr, AmazonProvidedIpv6CidrBlock=ipv6)["Vpc"]
        vpc_id = made["VpcId"]
        blocks = [made["CidrBlock"], *(a["Ipv6CidrBlock"] for a in made.get("Ipv6CidrBlockAssociationSet", []))]
        main = self._tables({"Name": "vpc-id", "Values": [vpc_id]})[0]["RouteTableId"]
        names = [zone["ZoneName"] for zone in self.ec2.describe_availability_zones()["AvailabilityZones"]]
        v4 = ipaddress.ip_network(cidr).subnets(new_prefix=20)
        v6 = ipaddress.ip_network(blocks[1]).subnets(new_prefix=64) if ipv6 else None
        built: list[Zone] = []
        for index in range(zones):
            shared = built[0].route_table_id if built and one_table else None
            cidrs = (*(() if index >= zones - ipv6_only else (str(next(v4)),)), *((str(next(v6)),) if v6 else ()))
            built.append(self.zone(vpc_id, names[index % len(names)], cidrs, shared, tags or {}))
        return Vpc(vpc_id, tuple(blocks), main, tuple(built))

    def zone(
        self,
        vpc_id: str,
        name: str,
        cidrs: tuple[str, ...],
        table: str | None = None,
        tags: Mapping[str, str] | None = None,
        outpost_arn: str = "",
    ) -> Zone:
        """Create a subnet in the named zone, or on an Outpost; it uses `table`, or a new one with `tags`."""
        extra: dict[str, Any] = {"Ipv6CidrBlock" if ":" in cidr else "CidrBlock": cidr for cidr in cidrs}
        extra |= {} if "CidrBlock" in extra else {"Ipv6Native": True}
        extra |= {"OutpostArn": outpost_arn} if outpost_arn else {}
        subnet = self.ec2.create_subnet(VpcId=vpc_id, AvailabilityZone=name, **extra)["Subnet"]
        if table is None:
            listed = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
            spec = [{"ResourceType": "route-table", "Tags": listed}] if listed else []
            made = self.ec2.create_route_table(VpcId=vpc_id, TagSpecifications=spec)
            table = str(made["RouteTable"]["RouteTableId"])
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])
        return Zone(name, subnet["SubnetId"], table, cidrs)

    def _tables(self, *filters: Mapping[str, Any]) -> list[Any]:
        return list(self.ec2.describe_route_tables(Filters=filters)["RouteTables"])

    def launch(self, zone: Zone, count: int = 1, *, interfaces: int = 1, ipv6: bool = True) -> tuple[Machine, ...]:
        """Launch instances, each with that number of ENIs in the zone's subnet.

        Each has an IPv6 address where the subnet has a block; with `ipv6` false, in an IPv6-only subnet alone. Their
        metadata service is as `terraform/modules/nodes` sets it: tokens required, unreachable from pods.
        """
        asked = {"Ipv6AddressCount": 1} if ipv6 and any(":" in cidr for cidr in zone.cidrs) else {}
        nics = [{"DeviceIndex": index, "SubnetId": zone.subnet_id, **asked} for index in range(interfaces)]
        metadata = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        launched = self.ec2.run_instances(
            ImageId=IMAGE, MinCount=count, MaxCount=count, NetworkInterfaces=nics, MetadataOptions=metadata
        )
        return tuple(_machine(instance, zone) for instance in launched["Instances"])

    def open(self, vpc: Vpc) -> None:
        """Let the VPC's default security group, which launched instances have, admit everything both ways."""
        mine = [{"Name": "vpc-id", "Values": [vpc.id]}, {"Name": "group-name", "Values": ["default"]}]
        (group,) = self.ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        everybody = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
        rule = [{"IpProtocol": "-1", **everybody}]
        self.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=rule)

    def control_plane(self, vpc: Vpc, cluster: str) -> ControlPlane:
        """Create EKS's part of a cluster: a security group that admits itself alone, and an interface in each of two
        zones.

        Sources: "View Amazon EKS security group requirements for clusters" and "View Amazon EKS networking requirements
        for VPC and subnets" in the Amazon EKS User Guide.
        """
        name = f"eks-cluster-sg-{cluster}-1234567890"
        group = str(self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc.id)["GroupId"])
        itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=itself)
        made = {"Description": f"Amazon EKS {cluster}", "Groups": [group]}
        ids = [
            self.ec2.create_network_interface(SubnetId=zone.subnet_id, **made)["NetworkInterface"]["NetworkInterfaceId"]
            for zone in vpc.zones[:2]
        ]
        return ControlPlane(group, tuple(ids))

    def stop(self, *instance_ids: str) -> None:
        """Stop instances."""
        self.ec2.stop_instances(InstanceIds=instance_ids)

    def start(self, *instance_ids: str) -> None:
        """Start instances."""
        self.ec2.start_instances(InstanceIds=instance_ids)

    def terminate(self, *instance_ids: str) -> None:
        """Terminate instances."""
        self.ec2.terminate_instances(InstanceIds=instance_ids)

    def routes(self, table_id: str) -> dict[str, Mapping[str, Any]]:
        """Return the entries of a table as DescribeRouteTables shows them, by destination."""
        table = self.ec2.describe_route_tables(RouteTableIds=[table_id])["RouteTables"][0]
        names: Sequence[str] = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
        return {next(route[name] for name in names if name in route): route for route in table["Routes"]}


def _machine(instance: Mapping[str, Any], zone: Zone) -> Machine:
    enis = instance["NetworkInterfaces"]
    ipv4 = [enis[0]["PrivateIpAddress"]] if "PrivateIpAddress" in enis[0] else []
    addresses = (*ipv4, *(a["Ipv6Address"] for a in enis[0]["Ipv6Addresses"]))
    ids = tuple(eni["NetworkInterfaceId"] for eni in enis)
    return Machine(instance["InstanceId"], ids[0], ids, zone, addresses)
