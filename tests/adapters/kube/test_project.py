"""Conversion between JSON and types, for any JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.adapters.kube import project
from cloudroute.types import Cidr, Condition, FamilyUse, NodeRouteSpec, RouteTableObject, Subnet

ID = "i-0123456789abcdef0"


def raw_node(**changes: Any) -> dict[str, Any]:
    metadata = {"name": "n1", "uid": "u1", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": metadata | changes.pop("metadata", {}),
        "spec": {"providerID": f"aws:///us-east-1a/{ID}"} | changes.pop("spec", {}),
        "status": changes.pop("status", {}),
    }


def test_a_whole_node_is_read() -> None:
    """Every field of a Node that cloudroute uses is read."""
    node = project.node(
        raw_node(
            metadata={"annotations": {project.PRIORITY: "-5"}},
            spec={"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/80"]},
            status={
                "addresses": [
                    {"type": "Hostname", "address": "n1"},
                    {"type": "InternalIP", "address": "10.0.0.7"},
                    {"type": "InternalIP", "address": "fd00::7"},
                ],
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated", "message": "fine"},
                ],
            },
        )
    )
    assert (node.name, node.uid, node.version, node.created) == ("n1", "u1", "7", "2026-01-01T00:00:00Z")
    assert (node.instance_id, node.zone_hint, node.priority, node.problem) == (ID, "us-east-1a", -5, "")
    assert node.pod_cidrs == (Cidr.parse("10.1.0.0/24"), Cidr.parse("fd00:1::/80"))
    assert node.node_ips == ("10.0.0.7", "fd00::7")
    assert node.condition == Condition("False", "RouteCreated", "fine")


@pytest.mark.parametrize(
    ("provider_id", "instance_id", "zone"),
    [
        (f"aws:///eu-west-1b/{ID}", ID, "eu-west-1b"),
        (f"aws:////{ID}", ID, ""),
        (f"aws://eu-west-1b/{ID}", ID, "eu-west-1b"),
        (ID, ID, ""),
        ("i-01234567", "i-01234567", ""),
    ],
)
def test_every_form_of_a_provider_id_is_understood(provider_id: str, instance_id: str, zone: str) -> None:
    """providerID is accepted with a zone, without one, and as a bare instance id."""
    node = project.node(raw_node(spec={"providerID": provider_id}))
    assert (node.instance_id, node.zone_hint, node.problem) == (instance_id, zone, "")


@pytest.mark.parametrize(
    "provider_id",
    [
        "",
        "aws:///us-east-1a/fargate-ip-10-0-0-1.ec2.internal",
        "aws:///us-east-1a/",
        "aws:///us-east-1a/i-xyz",
        "gce://project/zone/i-0123456789abcdef0",
        f"aws:///us-east-1a/{ID}/",
        f"{ID}\n",
        "k3s://n1",
    ],
)
def test_a_provider_id_that_names_no_instance_is_a_problem_in_words(provider_id: str) -> None:
    """A providerID of something else gives no instance id, and a sentence with the value."""
    node = project.node(raw_node(spec={"providerID": provider_id}))
    assert node.instance_id == ""
    assert "spec.providerID" in node.problem
    assert repr(provider_id) in node.problem or not provider_id


def test_the_zone_label_helps_where_the_provider_id_has_none() -> None:
    """topology.kubernetes.io/zone is the zone hint of a bare instance id."""
    labels = {"topology.kubernetes.io/zone": "us-west-2c"}
    assert project.node(raw_node(metadata={"labels": labels}, spec={"providerID": ID})).zone_hint == "us-west-2c"


@pytest.mark.parametrize(
    ("text", "priority"), [("7", 7), (" +3 ", 3), ("-12", -12), ("2147483647", 2147483647), ("", 0)]
)
def test_a_priority_is_an_integer(text: str, priority: int) -> None:
    """The annotation is read with its sign; an empty one is none."""
    node = project.node(raw_node(metadata={"annotations": {project.PRIORITY: text}}))
    assert (node.priority, node.problem) == (priority, "")


@pytest.mark.parametrize("text", ["high", "1.5", "--3", "+-3", "0x10", "1e3", "٣", "9" * 5000, "1_000"])
def test_a_priority_that_is_no_integer_counts_as_zero_and_is_named(text: str) -> None:
    """A malformed annotation changes nothing but `problem`; the node keeps its instance."""
    node = project.node(raw_node(metadata={"annotations": {project.PRIORITY: text}}))
    assert node.priority == 0
    assert node.instance_id == ID
    assert project.PRIORITY in node.problem
    assert len(node.problem) < 200


def test_host_bits_in_a_pod_cidr_are_dropped() -> None:
    """The API server accepts 10.1.0.5/24 with a warning: it is the network 10.1.0.0/24."""
    node = project.node(raw_node(spec={"podCIDRs": ["10.1.0.5/24"]}))
    assert node.pod_cidrs == (Cidr.parse("10.1.0.0/24"),)
    assert node.problem == ""


def test_a_node_whose_pod_cidr_is_unreadable_takes_no_part() -> None:
    """A Node with a malformed pod CIDR has no instance id, no CIDRs, and a problem: no route to it could be right."""
    node = project.node(raw_node(spec={"podCIDRs": ["10.1.0.0/24", "010.2.0.0/24"]}))
    assert (node.instance_id, node.pod_cidrs) == ("", ())
    assert "'010.2.0.0/24'" in node.problem


def test_a_malformed_address_does_not_hide_the_good_ones() -> None:
    """A malformed InternalIP is skipped, and the others are kept."""
    addresses = [{"type": "InternalIP", "address": text} for text in ("10.0.0.1", "10.0.0.256", "fd00:0::1")]
    node = project.node(raw_node(status={"addresses": addresses}))
    assert node.node_ips == ("10.0.0.1", "fd00::1")
    assert "10.0.0.256" in node.problem


# Keys that the projections read, so that hostile values reach the parsing code.
WORDS = [
    *("name", "uid", "resourceVersion", "annotations", "labels", "providerID", "podCIDRs", "podCIDR"),
    *("addresses", "conditions", "type", "address", "nodeIPs", "nativeIn", "subnets", "cidrs"),
    *("ipv4", "learnedLimit", "podIPs", "ip", "podIP", project.PRIORITY),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("InternalIP"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"metadata": anything, "spec": anything, "status": anything}))
def test_nothing_that_is_written_into_an_object_raises(raw: dict[str, Any]) -> None:
    """Any JSON in an object is projected to a value that can be compared and hashed."""
    node, route, report = project.node(raw), project.node_route(raw), project.route_table_object(raw)
    assert hash(node) == hash(project.node(raw))
    assert route == project.node_route(raw)
    assert report == project.route_table_object(raw)
    assert project.pod(raw) == project.pod(raw)
    assert project.meta(raw).version >= 0


def test_a_node_route_survives_the_way_to_json_and_back() -> None:
    """The spec that is written is the spec that is read."""
    spec = NodeRouteSpec(
        (Cidr.parse("10.1.0.0/24"), Cidr.parse("fd00:1::/80")),
        ("10.0.0.1", "fd00::1"),
        ID,
        "eni-1",
        "",
        "rtb-1",
        ("rtb-1", "rtb-2"),
    )
    raw = {"metadata": {"name": "n1", "resourceVersion": "3"}, "spec": project.node_route_spec(spec)}
    assert project.node_route(raw).spec == spec


def test_a_route_table_object_survives_the_way_to_json_and_back() -> None:
    """Spec and status that are written are those that are read."""
    report = RouteTableObject(
        "rtb-1",
        "3",
        "vpc-1",
        (Subnet("subnet-1", "vpc-1", "us-east-1a", (Cidr.parse("10.0.0.0/24"),)),),
        {"ipv4": FamilyUse(50, None, 4, 3, 1), "ipv6": FamilyUse(50, 40, 0, 0, 0)},
    )
    raw = {
        "metadata": {"name": "rtb-1", "resourceVersion": "3"},
        "spec": project.route_table_object_spec(report),
        "status": project.route_table_object_status(report),
    }
    assert project.route_table_object(raw) == report


def test_a_pod_is_read_with_all_its_addresses() -> None:
    """Addresses come from podIPs, in both families, else from podIP."""
    raw = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"nodeName": "n1", "hostNetwork": True},
        "status": {"podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}, {"ip": "fd00:1::9"}]},
    }
    assert project.pod(raw).ips == ("10.1.0.9", "fd00:1::9")
    assert project.pod(raw).host_network
    assert project.pod({"status": {"podIP": "10.1.0.9"}}).ips == ("10.1.0.9",)
    assert project.pod({}).ips == ()
