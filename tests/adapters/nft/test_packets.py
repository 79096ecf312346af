"""Real packets between the namespaces of `Network`: masquerade, notrack and counters."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator

import pytest

from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.listing import ALTERED
from cloudroute.dataplane import TABLE
from cloudroute.types import family_of
from tests.adapters.nft.kit import RULESET
from tests.adapters.nft.network import (
    GATEWAY,
    HOST,
    IP_UDP_BYTES,
    KEPT,
    MAC,
    MASQUERADED,
    MULTICAST,
    NEIGHBOUR,
    OLD,
    OVERLAY,
    PING,
    POD,
    PORT,
    PROTOCOL,
    ROUTED,
    SERVICE,
    Network,
    a_flow,
    answered,
    bound,
    by_tunnel,
    connected,
    every,
    exchanged,
    in_brackets,
    plain,
    seen_source,
    send_by,
    stream,
    take_part,
    up,
)
from tests.hosts import Namespace


@pytest.fixture
def net(require_nft: None) -> Iterator[Network]:
    with connected() as net:
        yield net


@pytest.fixture
def nft(net: Network) -> Iterator[Nft]:
    """The adapter on the host, with the table written."""
    with net.host.inside():
        adapter = Nft()
        assert adapter.table.write({TABLE: RULESET}, ()) == {}
        yield adapter


def test_a_pod_keeps_its_address_where_that_has_a_way_back(net: Network, nft: Nft) -> None:
    """Destinations are hosts and networks of the list, in both families."""
    for address in every(KEPT):
        assert (address, seen_source(net.pod, net.outside, address)) == (
            address,
            plain(POD[family_of(address)]),
        )


def test_a_pod_is_masqueraded_toward_everything_else(net: Network, nft: Nft) -> None:
    """Destinations are the internet, instance metadata, and addresses next to the networks of the list."""
    for address in every(MASQUERADED):
        assert (address, seen_source(net.pod, net.outside, address)) == (address, HOST[family_of(address)])


def test_a_pod_on_a_bridge_of_an_earlier_version_is_treated_alike(net: Network, nft: Nft) -> None:
    """Rules match a pod by its address, whatever its device."""
    for address in every(KEPT):
        assert (address, seen_source(net.old, net.outside, address)) == (
            address,
            plain(OLD[family_of(address)]),
        )
    for address in every(MASQUERADED):
        assert (address, seen_source(net.old, net.outside, address)) == (address, HOST[family_of(address)])


def test_a_service_whose_endpoint_is_on_the_clients_node_sees_the_client(net: Network, nft: Nft) -> None:
    """A pod keeps its address toward pods of its node; its own endpoint sees the gateway's, by kube-proxy's rule."""
    for family, service in SERVICE.items():
        seen = [
            served(net, service, net.neighbour, NEIGHBOUR[family]),
            served(net, service, net.pod, POD[family]),
        ]
        assert seen == [plain(POD[family]), plain(GATEWAY[family])]


def served(net: Network, service: str, backend: Namespace, endpoint: str) -> str:
    """The address that a Service's only endpoint sees as the pod asks the Service's address."""
    protocol = PROTOCOL[family_of(service)]
    # As kube-proxy does in nftables mode: what an endpoint sends to itself is masqueraded.
    net.host.run(
        "nft",
        f"""
        add table {protocol} service
        delete table {protocol} service
        table {protocol} service {{
          chain services {{
            type nat hook prerouting priority -100
            {protocol} daddr {service} jump endpoint
          }}
          chain endpoint {{
            {protocol} saddr {endpoint} meta mark set 0x4000
            meta l4proto udp dnat to {endpoint}
          }}
          chain postrouting {{
            type nat hook postrouting priority 100
            meta mark 0x4000 masquerade
          }}
        }}""",
    )
    with bound(backend, endpoint) as there:
        return answered(net.pod, there, service)


def test_masquerade_is_switched_off(net: Network, nft: Nft) -> None:
    """The same packets keep the pod's address then."""
    nft.table.write({TABLE: RULESET._replace(masquerade=False)}, ())
    for address in every(MASQUERADED):
        assert (address, seen_source(net.pod, net.outside, address)) == (
            address,
            plain(POD[family_of(address)]),
        )


def test_packets_in_the_tunnel_are_never_masqueraded(net: Network, nft: Nft) -> None:
    """Not even toward an address that is in no list."""
    nft.table.write({TABLE: RULESET._replace(networks=frozenset())}, ())
    for address in OVERLAY:
        assert seen_source(net.pod, net.outside, address) == plain(POD[family_of(address)])


def test_a_network_that_never_sees_pods_sees_none_through_the_tunnel(net: Network, nft: Nft) -> None:
    """It sees the VXLAN device's address, as of the host's own packets."""
    nft.table.write({TABLE: RULESET._replace(masqueraded=RULESET.peers)}, ())
    for address, pods in zip(OVERLAY, RULESET.pods, strict=True):
        vtep = str(pods).partition("/")[0]
        up(net.host, "cr0", vtep)
        assert seen_source(net.pod, net.outside, address) == vtep


def test_the_hosts_own_packets_are_not_masqueraded(net: Network, nft: Nft) -> None:
    """Only pods' are: what a process on the host sends from another of its addresses keeps that."""
    net.host.shell("ip address add 10.0.0.77/32 dev lo")
    net.outside.shell("ip route add 10.0.0.77 via 10.0.0.5")
    with bound(net.outside, "203.0.113.1") as there, bound(net.host, "10.0.0.77") as here:
        here.sendto(PING, ("203.0.113.1", PORT))
        assert there.recvfrom(100)[1][0] == "10.0.0.77"


def test_multicast_is_never_masqueraded(net: Network, nft: Nft) -> None:
    """A receiver of multicast sees who sends it, though the pods' addresses have no way back."""
    for group, source in zip(MULTICAST, GATEWAY.values(), strict=True):
        with bound(net.outside, {"ipv4": "0.0.0.0", "ipv6": "::"}[family_of(group)]) as there:
            with net.outside.inside():
                take_part(there, group)
            with bound(net.host, source) as here:
                send_by(here, "eth0")
                here.sendto(PING, (group, PORT))
            assert there.recvfrom(100)[1][0] == plain(source)


def test_the_tunnel_is_not_tracked(net: Network, nft: Nft) -> None:
    """Neither what is sent nor what is received; what it carries is tracked."""
    for pod, pods in zip(POD.values(), RULESET.pods, strict=True):
        net.outside.shell(f"ip route delete {pods}")
        by_tunnel(net.outside, pod, MAC["host"])
    tunnels = f"udp dport {RULESET.port} ct state"
    for hook in ("output", "input"):
        net.host.run(
            "nft", f"add table inet probe; add chain inet probe {hook} {{ type filter hook {hook} priority 0; }}"
        )
        for state in ("untracked", "!= untracked"):
            net.host.run("nft", f"add rule inet probe {hook} {tunnels} {state} counter")
    for address in OVERLAY:
        seen_source(net.pod, net.outside, address)
    for hook in ("output", "input"):
        untracked, tracked = map(
            int, re.findall(r"packets (\d+)", net.host.run("nft", f"list chain inet probe {hook}"))
        )
        assert untracked >= len(OVERLAY)
        assert tracked == 0


def test_a_pod_may_use_the_port_of_the_tunnel(net: Network, nft: Nft) -> None:
    """Its packets to that port are no tunnel: they are tracked, and so masqueraded."""
    nft.table.write({TABLE: RULESET._replace(port=PORT)}, ())
    for address in MASQUERADED["the internet"]:
        assert seen_source(net.pod, net.outside, address) == HOST[family_of(address)]


def test_a_masqueraded_flow_may_get_the_port_of_the_tunnel(net: Network, nft: Nft) -> None:
    """The answers to it come to that port, are no VXLAN, and find their pod."""
    net.host.run("nft", "add table inet probe; add chain inet probe c { type nat hook postrouting priority 99; }")
    for address in MASQUERADED["the internet"]:
        family = family_of(address)
        net.host.run(
            "nft",
            f"add rule inet probe c {PROTOCOL[family]} daddr {address} udp dport {PORT} "
            f"snat {PROTOCOL[family]} to {in_brackets(HOST[family])}:{RULESET.port}",
        )
        assert seen_source(net.pod, net.outside, address) == HOST[family]


def test_bytes_are_counted_by_peer_and_by_device(net: Network, nft: Nft) -> None:
    """A pod's and the host's own packets, to the byte, and nothing of what the tunnel adds."""
    for address in (*ROUTED, *OVERLAY):
        for sender in (net.pod, net.host):
            seen_source(sender, net.outside, address)
    sent = {family: 2 * (len(PING) + headers) for family, headers in IP_UDP_BYTES.items()}
    assert {str(peer.cidr): (peer.overlay, peer.routed) for peer in nft.peer_bytes()} == {
        "10.244.8.0/24": (sent["ipv4"], 0),
        "10.244.9.0/24": (0, sent["ipv4"]),
        "fd00::8:0:0:0/80": (sent["ipv6"], 0),
        "fd00::9:0:0:0/80": (0, sent["ipv6"]),
    }


def test_bytes_of_large_segments_are_counted(net: Network, nft: Nft) -> None:
    """TCP with segmentation offload: each packet is counted with all its bytes, not only a connection's first."""
    size = 2_000_000
    for address in (ROUTED[0], OVERLAY[1]):
        assert stream(net.pod, net.outside, address, size) == size
    counted = {str(peer.cidr): peer.overlay + peer.routed for peer in nft.peer_bytes()}
    for peer in ("10.244.9.0/24", "fd00::8:0:0:0/80"):
        assert size < counted[peer] < 1.2 * size


FORMER = f"""
insert rule inet {TABLE} prerouting iifname != cbr0 udp dport {RULESET.port} @th,64,32 0x8000000 notrack
insert rule inet {TABLE} count oifname cbr0 return
insert rule inet {TABLE} postrouting oifname cbr0 return
"""
"""Changes that make the table one of an earlier version, as far as it matters: it is no Ruleset."""


def test_a_former_table_is_replaced_under_traffic_without_loss(net: Network, nft: Nft) -> None:
    """Flows that last and flows that begin meanwhile are answered, and seen from the host's address."""
    done = threading.Event()
    sources: list[object] = []

    def traffic() -> None:
        with bound(net.outside, "203.0.113.1") as there, a_flow(net.pod, "203.0.113.1") as lasting:
            try:
                while not done.is_set():
                    sources.append(exchanged(lasting, there))
                    sources.append(answered(net.pod, there, "203.0.113.1"))
            except OSError as error:
                sources.append(error)

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        for count in itertools.count():
            net.host.run("nft", FORMER)
            assert nft.table.read(()) == {TABLE: ALTERED}
            assert nft.table.write({TABLE: RULESET}, ()) == {}
            if not sender.is_alive() or (len(sources) >= 200 and count >= 30):
                break
    finally:
        done.set()
        sender.join()
    assert set(sources) == {HOST["ipv4"]}
