"""The lab's VPC forwards packets by EC2's state: routes, source/dest checks, terminated instances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.host import Vm
from cloudroute.lab.hosts.resolver import ask
from cloudroute.lab.hosts.traffic import Protocol
from tests.lab.hosts.vpc_lab import VpcLab, lab, named
from tests.waiting import eventually

__all__ = ["lab"]

FULL = 9001 - 28
"""The payload of a ping that fills a jumbo frame."""


def test_hosts_reach_each_other_in_and_across_subnets_with_jumbo_frames(lab: VpcLab) -> None:
    for host in (lab.b, lab.c):
        for address in host.addresses:
            assert lab.ping(lab.a, address)
        assert lab.ping(lab.a, host.addresses[0], "-Mdo", f"-s{FULL}")
        assert not lab.ping(lab.a, host.addresses[0], "-Mdo", f"-s{FULL + 1}")


def test_native_needs_the_route_in_both_tables_and_both_checks_off(lab: VpcLab) -> None:
    a, c = lab.a, lab.c
    assert lab.pod_ping(a, c) == {False}
    lab.check(a, on=False)
    lab.check(c, on=False)
    assert lab.pod_ping(a, c) == {False}
    lab.route(c, lab.tables[0])
    assert lab.pod_ping(a, c) == {False}
    lab.route(a, lab.tables[1])
    assert lab.pod_ping(a, c) == {True}
    for host in (a, c):
        lab.check(host, on=True)
        assert lab.pod_ping(a, c) == {False}
        lab.check(host, on=False)
    assert lab.pod_ping(a, c) == {True}


def test_a_route_table_binds_the_subnets_that_use_it_and_no_others(lab: VpcLab) -> None:
    for host in lab.hosts.values():
        lab.check(host, on=False)
        lab.route(host, lab.tables[0])
    assert lab.pod_ping(lab.a, lab.b) == {True}
    assert lab.pod_ping(lab.c, lab.a) == {False}


def test_inside_a_subnet_a_frame_needs_no_route_but_both_checks_off(lab: VpcLab) -> None:
    a, b = lab.a, lab.b
    lab.direct(a, b)
    lab.direct(b, a)
    assert lab.pod_ping(a, b) == {False}
    lab.check(a, on=False)
    assert lab.pod_ping(a, b) == {False}
    lab.check(b, on=False)
    assert lab.pod_ping(a, b) == {True}


def test_without_a_route_the_gateway_forwards_nothing_to_pods(lab: VpcLab) -> None:
    for host in lab.hosts.values():
        lab.check(host, on=False)
    assert lab.pod_ping(lab.a, lab.b) == {False}
    assert lab.pod_ping(lab.a, lab.c) == {False}


def test_the_overlay_needs_neither_route_nor_check_off_but_its_port(lab: VpcLab) -> None:
    lab.overlay(lab.a, lab.b, lab.c)
    assert lab.pod_ping(lab.a, lab.b) == lab.pod_ping(lab.a, lab.c) == {True}
    lab.net.block("udp", 8472)
    assert lab.pod_ping(lab.a, lab.b) == lab.pod_ping(lab.a, lab.c) == {False}
    assert lab.ping(lab.a, lab.c.addresses[0])
    lab.net.unblock("udp", 8472)
    assert lab.pod_ping(lab.a, lab.b) == lab.pod_ping(lab.a, lab.c) == {True}


def test_the_check_drops_a_foreign_source_even_between_neighbours(lab: VpcLab) -> None:
    for pod, address in zip(lab.pods(lab.a), lab.b.addresses, strict=True):
        assert not lab.ping(lab.a, address, "-I", pod)
    assert "counter packets 0 bytes 0 drop\n\t\tiifname @checked iifname . ip6" not in rules(lab)


def rules(lab: VpcLab) -> str:
    return lab.net.router.run("nft", "list", "chain", "bridge", "vpc", "from_eni")


def test_the_internet_answers_hosts_and_never_pods(lab: VpcLab) -> None:
    lab.check(lab.a, on=False)
    lab.route(lab.a, *lab.tables)
    for pod, address in zip(lab.pods(lab.a), lab.net.internet.addresses, strict=True):
        assert lab.ping(lab.a, address)
        assert not lab.ping(lab.a, address, "-I", pod)
    assert lab.ping(lab.a, lab.net.internet.addresses[0], "-Mdo", "-s1472")
    assert not lab.ping(lab.a, lab.net.internet.addresses[0], "-Mdo", "-s1473")


def test_the_resolver_answers_addresses_of_the_vpc_from_every_subnet(lab: VpcLab) -> None:
    assert lab.net.resolver_addresses == ("10.0.0.2", "169.254.169.253", "fd00:ec2::253")
    for host in (lab.a, lab.c):
        for server in lab.net.resolver_addresses:
            assert resolved(host, server) == {"10.9.8.7"}


def test_the_resolver_never_answers_pods(lab: VpcLab) -> None:
    lab.check(lab.a, on=False)
    lab.route(lab.a, *lab.tables)
    for server in lab.net.resolver_addresses:
        ipv6 = ":" in server
        gateway = "fe80::1" if ipv6 else "10.0.0.1"
        way = f"route replace {server} via {gateway} dev eth0"
        lab.a.namespace.batch([f"{way} src {lab.pods(lab.a)[ipv6]}"])
        assert resolved(lab.a, server) == {"no answer"}
        lab.a.namespace.batch([f"{way} src {lab.a.addresses[ipv6]}"])
        assert resolved(lab.a, server) == {"10.9.8.7"}


def resolved(host: Vm, server: str) -> set[str]:
    """Answers of the Resolver for a name, by UDP and by TCP."""

    def answer(protocol: Protocol) -> str:
        try:
            return ask(host.namespace.name, server, "ip-10-9-8-7.eu-central-1.compute.internal", protocol, 0.4)
        except TimeoutError:
            return "no answer"

    return {answer("udp"), answer("tcp")}


def test_a_host_of_an_ipv6_only_subnet_has_no_ipv4_and_is_handed_none(lab: VpcLab) -> None:
    """The VPC forwards IPv4 packets to its pod by a route; in IPv6 it is a host as any other."""
    d = lab.host("d", 2)
    (address,) = d.addresses
    for other in (lab.a, lab.c):
        assert lab.ping(other, address)
        assert lab.ping(d, other.addresses[1])
    assert d.run("ip", "-4", "route", "show", "dev", "eth0") == ""
    lab.route(d, *lab.tables)
    lab.check(d, on=False)
    assert [lab.ping(lab.a, pod) for pod in lab.pods(d)] == [False, True]


def test_a_subnet_without_a_default_route_has_no_internet(lab: VpcLab) -> None:
    for destination in ("0.0.0.0/0", "::/0"):
        lab.ec2.delete_route(RouteTableId=lab.tables[1], **named(destination))
    for address in lab.net.internet.addresses:
        assert lab.ping(lab.a, address)
        assert not lab.ping(lab.c, address)


def test_another_table_takes_effect_when_the_subnet_is_associated_with_it(lab: VpcLab) -> None:
    lab.check(lab.a, on=False)
    lab.check(lab.c, on=False)
    lab.route(lab.c, lab.tables[0])
    lab.route(lab.a, lab.tables[0])
    assert lab.pod_ping(lab.a, lab.c) == {False}
    table = lab.ec2.describe_route_tables(RouteTableIds=[lab.tables[1]])["RouteTables"][0]
    old = table["Associations"][0]["RouteTableAssociationId"]
    lab.ec2.replace_route_table_association(AssociationId=old, RouteTableId=lab.tables[0])
    assert lab.pod_ping(lab.a, lab.c) == {True}
    table = lab.ec2.describe_route_tables(RouteTableIds=[lab.tables[0]])["RouteTables"][0]
    for association in table["Associations"]:
        lab.ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    assert lab.pod_ping(lab.a, lab.c) == {False}, "the main table has no such route"
    assert lab.ping(lab.a, lab.c.addresses[0])


def test_a_stopped_instance_is_unplugged_and_its_route_a_blackhole_until_it_starts(lab: VpcLab) -> None:
    for host in (lab.a, lab.c):
        lab.check(host, on=False)
        lab.route(host, *lab.tables)
    assert lab.pod_ping(lab.a, lab.c) == {True}
    lab.aws.scene.stop(lab.c.machine.id)
    eventually(lambda: "eth0" not in lab.c.run("ip", "-br", "link"), "eth0 is unplugged")
    router = lab.net.router
    eventually(
        lambda: "blackhole 100.64.3.0/24" in router.run("ip", "route", "show", "table", "all"),
        "the route is a blackhole",
    )
    assert not lab.ping(lab.a, lab.c.addresses[0])
    lab.aws.scene.start(lab.c.machine.id)
    # Without its link-local address the host can't look for its gateway in a pod's name.
    eventually(
        lambda: "fe80::" in lab.c.run("ip", "-br", "-6", "address", "show", "dev", "eth0", "-tentative"),
        "eth0 has its link-local address",
    )
    assert lab.pod_ping(lab.a, lab.c) == {True}


def test_a_terminated_instance_is_gone_at_once_and_nobody_else_notices(lab: VpcLab) -> None:
    lab.aws.scene.terminate(lab.b.machine.id)
    eventually(lambda: "eth0" not in lab.b.run("ip", "-br", "link"), "eth0 is unplugged")
    assert not lab.ping(lab.a, lab.b.addresses[0])
    assert lab.ping(lab.a, lab.c.addresses[0])


def test_a_host_that_is_detached_is_cut_off(lab: VpcLab) -> None:
    lab.net.detach(lab.c.machine.id)
    assert "eth0" not in lab.c.run("ip", "-br", "link")
    lab.net.attach(lab.c.namespace, lab.c.machine)
    assert lab.ping(lab.c, lab.a.addresses[0])


def test_dozens_of_changes_at_once_end_as_ec2_says(lab: VpcLab) -> None:
    def change(number: int) -> None:
        cidr = named(f"100.65.{number}.0/24")
        lab.ec2.create_route(RouteTableId=lab.tables[0], NetworkInterfaceId=lab.a.machine.interface_id, **cidr)
        if number % 2:
            lab.ec2.delete_route(RouteTableId=lab.tables[0], **cidr)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(30)))
    wanted = {f"100.65.{number}.0/24" for number in range(0, 30, 2)}

    def there() -> set[str]:
        listed = lab.net.router.run("ip", "-4", "route", "show", "table", "all").split()
        return {word for word in listed if word.startswith("100.65.")}

    eventually(lambda: there() == wanted, "the other namespace has what is wanted")
    assert lab.net.trouble == ""


def test_a_host_whose_namespace_is_gone_is_named_and_all_is_well_once_it_is_detached(lab: VpcLab) -> None:
    lab.net.detach(lab.c.machine.id)
    lab.c.delete()
    with pytest.raises(CloudrouteError, match=lab.c.namespace.name):
        lab.net.attach(lab.c.namespace, lab.c.machine)
    lab.net.detach(lab.c.machine.id)
    assert lab.ping(lab.a, lab.b.addresses[0])
