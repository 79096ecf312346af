"""Clusters with hostile objects, through the whole controller: the final state of EC2 and the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.controller.lab import NATIVE, Lab, lab
from tests.security import hostile

OVERSIZED = "a" * 100_000
LIES = (
    "169.254.169.254",
    "10.0.0.1",
    "8.8.8.8",
    "127.0.0.1",
    "fe80::1%eth0",
    "::ffff:10.0.0.9",
    "$(reboot)\n",
    OVERSIZED,
)


@pytest.fixture
def world() -> Iterator[Lab]:
    """Two valid native nodes whose packets are traced: none may be lost."""
    with lab(2, traffic=True, reserved_cidr=["100.64.200.0/21"]) as made:
        made.join_many(2)
        made.run()
        yield made


def state(world: Lab) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """The routes in all tables, and the published specs."""
    routes = {table: world.routes(table) for table in world.tables()}
    return routes, {name: route.spec for name, route in world.published().items()}


def checks_off(world: Lab) -> list[str]:
    """ENIs whose source/dest check is off, of any VPC."""
    found = world.aws.scene.ec2.describe_network_interfaces()["NetworkInterfaces"]
    return sorted(one["NetworkInterfaceId"] for one in found if not one["SourceDestCheck"])


def check_events(world: Lab) -> None:
    for event in world.events():
        assert hostile.is_clean(event[3]), event
        assert len(event[3].encode()) <= 1024


def register(world: Lab, name: str, provider_id: str, cidrs: tuple[str, ...] = (), ips: tuple[str, ...] = ()) -> None:
    """Create a Node as any account with that permission could."""
    world.clock.time += 1
    spec = {"providerID": provider_id} | ({"podCIDRs": list(cidrs)} if cidrs else {})
    addresses = [{"type": "InternalIP", "address": ip} for ip in ips]
    head = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    world.kube.create({**head, "spec": spec, "status": {"addresses": addresses}})


def test_nodes_that_claim_what_is_anothers_get_nothing(world: Lab) -> None:
    """A Node that claims a foreign, unknown or malformed instance, or an unusable CIDR, gets no network."""
    other = world.aws.scene.launch(world.aws.scene.vpc(zones=1, cidr="10.9.0.0/16").zones[0])[0]
    spare = [machine.provider_id for machine in world.aws.scene.launch(world.vpc.zones[0], 4)]
    (taken,) = world.pod_cidrs("node-001")
    before, off = state(world), checks_off(world)
    machine = world.machine("node-001")
    register(world, "thief", machine.provider_id, ips=tuple(machine.addresses))
    register(world, "stranger", other.provider_id, ips=tuple(other.addresses))
    register(world, "ghost", "aws:///us-east-1a/i-0123456789abcdef0")
    register(world, "shell", "aws:///us-east-1a/$(reboot)\n")
    register(world, "long", OVERSIZED)
    register(world, "same-cidr", spare[0], (taken,))
    register(world, "half", spare[1], (f"{taken.removesuffix('/24')}/25",))
    register(world, "reserved", spare[2], ("100.64.201.0/24",))
    register(world, "everything", spare[3], ("0.0.0.0/0",))
    world.run()
    world.pass_seconds(200)
    assert state(world) == before
    assert checks_off(world) == off
    said = {(name, reason) for _, name, reason, _ in world.events()}
    assert {
        ("thief", "DuplicateInstance"),
        ("stranger", "OtherVPC"),
        ("shell", "InvalidNode"),
        ("long", "InvalidNode"),
    } <= said
    assert {(name, "NoPodCIDR") for name in ("same-cidr", "half", "reserved", "everything")} <= said
    assert [world.condition(name) for name in ("node-001", "node-002")] == [NATIVE] * 2
    check_events(world)


def test_a_node_is_published_with_addresses_that_ec2_has_given_it(world: Lab) -> None:
    """Addresses of the metadata service, the router or another node are not published: they would cut off its pods."""
    machine = world.aws.scene.launch(world.vpc.zones[0])[0]
    victim = world.machine("node-002").addresses[0]
    register(world, "liar", machine.provider_id, ips=(*LIES, victim, *machine.addresses))
    world.run()
    assert list(world.published()["liar"].spec.node_ips) == list(machine.addresses)
    ((_, name, _, note),) = world.events("OtherAddress")
    assert name == "liar"
    assert victim in note
    check_events(world)


def test_an_annotation_of_any_kind_is_no_more_than_a_priority(world: Lab) -> None:
    """A malformed priority counts as 0 and is reported; a high one takes no other node's entry."""
    before = state(world)
    for number, text in enumerate((OVERSIZED, "9" * 4000, "1\n", "\x1b[2J", "٣", "+-1", "9999999999")):
        world.clock.time += 1
        world.join(0, name=f"pushy-{number}", priority=text)
    world.run()
    routes, published = state(world)
    for table, honest in before[0].items():
        assert honest.items() <= routes[table].items()
    assert before[1].items() <= published.items()
    assert all(world.condition(f"pushy-{number}") == NATIVE for number in range(7))
    check_events(world)


@pytest.mark.parametrize("instance", ["i-1", "i-0123456789abcdef0", "i-0123456789abcdef"])
def test_a_forged_node_route_is_deleted_alone(world: Lab, instance: str) -> None:
    """A NodeRoute with an unknown or impossible instance is deleted, without effect on other nodes."""
    before = state(world)
    spec = {
        "podCIDRs": ["100.64.77.0/24"],
        "instanceID": instance,
        "networkInterfaceID": "eni-0123456789abcdef0",
        "routeTableID": "rtb-0123456789abcdef0",
        "nativeIn": [world.tables()[0]],
    }
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": "by-hand"}}
    world.kube.create({**head, "spec": spec})
    world.pass_seconds(200)
    newcomer = world.join(1)
    world.run()
    assert world.condition(newcomer) == NATIVE
    _, published = state(world)
    assert "by-hand" not in published
    assert before[1].items() <= published.items()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("fate", ["never was", "terminated"])
def test_a_forged_claim_of_a_living_nodes_cidr_has_no_effect(world: Lab, fate: str, *, restart: bool) -> None:
    """A forged NodeRoute claims a living node's CIDR for a terminated or unknown instance."""
    before = state(world)
    victim = next(iter(before[1].values()))
    instance = "i-0123456789abcdef0"
    if fate == "terminated":
        machine = world.aws.scene.launch(world.vpc.zones[0])[0]
        world.aws.scene.terminate(machine.id)
        instance = machine.id
    spec = {
        "podCIDRs": [str(cidr) for cidr in victim.pod_cidrs],
        "instanceID": instance,
        "networkInterfaceID": "eni-0123456789abcdef0",
        "routeTableID": "rtb-0123456789abcdef0",
        "nativeIn": [],
    }
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": "by-hand"}}
    world.kube.create({**head, "spec": spec})
    if restart:
        world.start()
    world.pass_seconds(200)
    world.run()
    assert state(world) == before
    assert not [call for call, _ in world.aws.calls if call == "DeleteRoute"]


def test_an_agents_words_stay_short_and_on_one_line(world: Lab) -> None:
    """The longest message that the CRD allows, with line breaks and control characters, is shortened and escaped."""
    name = world.join(0)
    world.turn()
    words = "x\n\x1b[31mFAKE 2026-01-01 error all is lost\r\u2028" * 40
    world.kube.patch_status("noderoutes", name, {"ready": False, "reason": "R\nR", "message": words[:1024]})
    world.run()
    (event,) = world.events("AgentNotReady")
    assert event[3].startswith(f"not native from {', '.join(sorted(world.tables()))}")
    check_events(world)
