"""Any change of our table by others is seen by the next read, and repaired by the next write."""

from __future__ import annotations

import re

import pytest

from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.listing import ALTERED
from cloudroute.dataplane import TABLE
from tests.adapters.nft.kit import GATEWAY_RULESET, RULESET
from tests.hosts import Namespace

T = f"inet {TABLE}"
VXLAN = "@th,64,32 0x8000000"
TUNNEL = f"udp dport {RULESET.port} {VXLAN}"
ALTERATIONS = {
    "all is flushed": "flush ruleset",
    "the table is deleted": f"delete table {T}",
    "the table is asleep": f"add table {T} {{ flags dormant; }}",
    "rules are flushed": f"flush table {T}",
    "a chain is flushed": f"flush chain {T} leaving",
    "the first rule is deleted": f"delete rule {T} leaving handle @leaving",
    "a rule is added": f"add rule {T} count ip daddr 10.0.0.1 drop",
    "a rule is inserted": f"insert rule {T} postrouting return",
    "a rule is there twice": f"add rule {T} output {TUNNEL} notrack",
    "a rule is altered": f"replace rule {T} postrouting handle @postrouting ip saddr 10.244.6.0/24 goto leaving",
    "a rule counts": f"replace rule {T} output handle @output {TUNNEL} counter notrack",
    "a rule has a comment": f"replace rule {T} output handle @output {TUNNEL} notrack comment mine",
    "the header is not looked at": f"replace rule {T} output handle @output udp dport 8472 notrack",
    "tunnels of pods are not tracked": f"delete rule {T} received handle @received",
    "another port": f"replace rule {T} output handle @output udp dport 4789 {VXLAN} notrack",
    "a port of no number": f"replace rule {T} output handle @output udp dport {{ 1, 2 }} notrack",
    "a policy is altered": f"add chain {T} count {{ policy drop; }}",
    "a priority is altered": f"flush chain {T} count; delete chain {T} count; add chain {T} count "
    "{ type filter hook postrouting priority 7; }",
    "a chain is deleted": f"flush chain {T} postrouting; delete chain {T} postrouting",
    "a chain is added": f"add chain {T} mine",
    "a set is added": f"add set {T} mine {{ type ipv4_addr; }}",
    "a set of a name like ours is added": f"add set {T} networks4_99 {{ type ipv4_addr; elements = {{ 10.0.0.1 }}; }}",
    "a set of another type": f"add set {T} networks6_1 {{ type ether_addr; elements = {{ 00:00:00:00:00:01 }}; }}",
    "a set of intervals": f"add set {T} networks4_9 {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/9 }}; }}",
    "a set of pairs": f"add set {T} networks4_8 {{ type ipv4_addr . inet_service; elements = {{ 10.0.0.0 . 1 }}; }}",
    "a map is added": f"add map {T} mine {{ type ipv4_addr : verdict; elements = {{ 10.0.0.1 : drop }}; }}",
    "an object is added": f"add counter {T} mine",
    "an element is added": f"add element {T} hosts6 {{ fc00::9 }}",
    "an element is removed": f"delete element {T} networks4_20 {{ 10.0.16.0 }}",
    "all elements are removed": f"flush set {T} networks4_16",
    "nothing is masqueraded in any case": f"flush set {T} masqueraded4_30",
    "an element has a comment": f"delete element {T} hosts4 {{ 10.0.3.4 }}; "
    f'add element {T} hosts4 {{ 10.0.3.4 comment "mine" }}',
    "half of a counter is removed": f"delete element {T} routed4_24 {{ 10.244.8.0 }}",
    "an element has host bits": f"add element {T} overlay4_24 {{ 10.244.8.1 }}; "
    f"add element {T} routed4_24 {{ 10.244.8.1 }}",
    "another table stands there": f"delete table {T}; add table {T}; add chain {T} postrouting; "
    f"add rule {T} postrouting accept",
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_alteration_is_seen_and_mended(nft: Nft, host: Namespace, alteration: str) -> None:
    """An altered table differs from the written one until it is written again; reading its counters never raises."""
    nft.table.write({TABLE: RULESET}, ())
    host.run("nft", with_handles(host, ALTERATIONS[alteration]))

    found = nft.table.read(())

    assert found.get(TABLE) != RULESET
    assert TABLE in found or TABLE not in host.run("nft", "list tables")
    nft.peer_bytes()
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    assert Nft().table.read(()) == {TABLE: RULESET}


OF_TRANSIT = {
    "transit is tracked": f"replace rule {T} transit handle @transit ip daddr 10.244.7.0/24 notrack",
    "own pods are in transit": f"delete rule {T} transit handle @transit",
    "another NIC": f"replace rule {T} prerouting handle @prerouting iifname eth1 ip daddr 10.244.0.0/16 goto transit",
    "a counter is added": f"add counter {T} mine",
    "a rule counts for itself": f"add rule {T} transit counter notrack",
    "no pool": f"flush chain {T} prerouting",
}


@pytest.mark.parametrize("alteration", OF_TRANSIT)
def test_an_alteration_of_transit_is_seen_and_mended(nft: Nft, host: Namespace, alteration: str) -> None:
    nft.table.write({TABLE: GATEWAY_RULESET}, ())
    host.run("nft", with_handles(host, OF_TRANSIT[alteration]))
    assert nft.table.read(()) == {TABLE: ALTERED}
    assert nft.transit_packets() == {}
    assert nft.table.write({TABLE: GATEWAY_RULESET}, ()) == {}
    assert Nft().table.read(()) == {TABLE: GATEWAY_RULESET}


def test_an_altered_table_can_be_dropped(nft: Nft, host: Namespace) -> None:
    """A table of our name exists for us, and can be removed, whatever its content."""
    nft.table.write({TABLE: RULESET}, ())
    host.run("nft", f"add chain {T} mine; add rule {T} mine accept; add rule {T} leaving jump mine")
    assert nft.table.read(()) == {TABLE: ALTERED}
    assert nft.table.write({}, (TABLE,)) == {}
    assert host.run("nft", "list ruleset") == ""


def with_handles(host: Namespace, command: str) -> str:
    """`@chain` in a command becomes the handle of that chain's first rule."""

    def handle(named: re.Match[str]) -> str:
        listed = host.run("nft", "-a", f"list chain {T} {named[1]}")
        return str(re.findall(r"# handle (\d+)", listed)[1])  # the first is the chain's

    return re.sub(r"(?<=handle )@(\w+)", handle, command)
