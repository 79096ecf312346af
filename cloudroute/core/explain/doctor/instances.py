"""Checks of the nodes' instances: the metadata service and its credentials, and the packet size on the way to them."""

from __future__ import annotations

import re

from cloudroute.core.explain.doctor.facts import Facts, InstanceOptions
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, counted, known, listed, ok, warning
from cloudroute.dataplane import VXLAN_OVERHEAD
from cloudroute.types import LEAST_IPV6_MTU, Instance

_AVAILABILITY_ZONE = re.compile(r"[a-z]+(?:-[a-z]+)+-\d+[a-z]")
"""Name of an Availability Zone: a region and a letter (eu-central-1a). In the name of a Local Zone (us-west-2-lax-1a)
or a Wavelength Zone (us-east-1-wl1-bos-wlz-1) a place follows the region. The name saves a call of
DescribeAvailabilityZones, which would need another permission. Sources: "Available Local Zones" and "Available
Wavelength Zones" in their guides."""
_PATH_MTU = 1300
"""MTU between an instance in a Local Zone, a Wavelength Zone or an Outpost and one in the region. Sources: "How AWS
Local Zones work", "Network maximum transmission unit (MTU) for your EC2 instance"."""
_LARGER_MTU = {
    "us-west-2-lax-1a": 9001,
    "us-west-2-lax-1b": 9001,
    "us-east-1-atl-2a": 8801,
    "us-east-1-chi-2a": 8801,
    "us-east-1-dfw-2a": 8801,
    "us-east-1-iah-2a": 8801,
    "us-east-1-mia-2a": 8801,
    "us-east-1-nyc-2a": 8801,
    "us-west-2-phx-2a": 8801,
}
"""MTU of Local Zones with a larger one ("How AWS Local Zones work", November 2026)."""
_VPC_MTU = 9001
"""Largest packet, in bytes, between instances of a VPC in the region itself."""


def _nodes(facts: Facts) -> list[tuple[str, Instance, InstanceOptions]]:
    """The nodes whose instances EC2 shows, by name. Raises Lacking where there are none."""
    instances, options = known(facts.aws.instances), known(facts.aws.options)
    nodes = [
        (name, instances[node.instance_id], options[node.instance_id])
        for name, node in sorted(known(facts.kubernetes.nodes).items())
        if node.instance_id in instances and node.instance_id in options
    ]
    if not nodes:
        raise Lacking("no node's instance is known")
    return nodes


def _metadata(facts: Facts) -> Outcome:
    nodes = [(name, options) for name, _, options in _nodes(facts)]
    answering = [(name, options) for name, options in nodes if options.metadata]
    tokenless = [name for name, options in answering if not options.token_required]
    far = [f"{name} ({o.hop_limit})" for name, o in answering if o.token_required and o.hop_limit > 1]
    words = [f"no token is needed at {listed(tokenless)}"] if tokenless else []
    words += [f"the hop limit is above 1 at {listed(far)}"] if far else []
    if words:
        return warning(
            f"the metadata service answers pods: {'; '.join(words)}",
            "run `aws ec2 modify-instance-metadata-options --http-tokens required --http-put-response-hop-limit 1 "
            "--instance-id ...`, and set the same in the launch template; pods on the host's network still get answers",
        )
    return ok(f"at {counted(len(nodes), 'node')}, the metadata service answers the host's network alone, or nobody")


def path_mtu(zone: str, outpost_arn: str) -> int | None:
    """Largest packet, in bytes, between an instance of this zone or Outpost and the region; None inside the region.

    >>> path_mtu("eu-central-1a", ""), path_mtu("us-gov-west-1b", ""), path_mtu("eu-central-1-ham-1a", "")
    (None, None, 1300)
    >>> path_mtu("us-west-2-lax-1a", ""), path_mtu("us-east-1-wl1-bos-wlz-1", ""), path_mtu("us-east-1a", "arn:aws:...")
    (9001, 1300, 1300)
    """
    if outpost_arn:
        return _PATH_MTU
    if not zone or _AVAILABILITY_ZONE.fullmatch(zone):
        return None
    return _LARGER_MTU.get(zone, _PATH_MTU)


def _jumbo_frames(facts: Facts) -> Outcome:
    nodes = _nodes(facts)
    remote: list[str] = []
    carried = _VPC_MTU
    for name, instance, options in nodes:
        if (mtu := path_mtu(instance.zone, options.outpost_arn)) is not None:
            remote.append(f"{name} ({options.outpost_arn.rpartition('/')[2] or instance.zone})")
            carried = min(carried, mtu)
    if not remote:
        return ok("no node is in a Local Zone, a Wavelength Zone or on an Outpost")
    addresses = [one.primary.addresses[0] for _, one, _ in nodes if one.primary and one.primary.addresses]
    overhead = VXLAN_OVERHEAD["ipv6" if any(":" in address for address in addresses) else "ipv4"]
    largest = carried - overhead
    routes = known(facts.kubernetes.node_routes).values()
    said = [own for route in routes if isinstance(own := route.status.get("mtu"), int)]
    where = f"{listed(remote)}: packets to the region have at most {carried} bytes"
    if said and max(said) <= largest:
        return ok(f"{where}, and pods' MTU is {max(said)}")
    todo = f"start all agents with --mtu {largest}, and restart the pods"
    if largest < LEAST_IPV6_MTU and "ipv6" in facts.policy.families:
        todo = (
            f"keep such nodes out of the cluster: IPv6 needs {LEAST_IPV6_MTU} bytes, and pods there can have {largest}"
        )
    pods = f"pods' MTU is {max(said)}" if said else "no agent has said its pods' MTU yet"
    return warning(f"{where}, and {pods}", todo)


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "VPC",
        "metadata-service",
        "whoever gets its answers has the credentials of the node's role",
        _metadata,
    ),
    Check(
        "VPC",
        "jumbo-frames",
        "packets that are too long for the way to a Local Zone, a Wavelength Zone or an Outpost are lost",
        _jumbo_frames,
    ),
)
