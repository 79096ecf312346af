"""Readiness of a node, and the conditions of its conflist."""

from __future__ import annotations

import json

import pytest

from cloudroute.core.node.peers import vtep_mac
from cloudroute.core.node.startup import AgentState
from cloudroute.dataplane import VTEP, VTEP6, AddressKey, Host, Kind, link_local, packed
from cloudroute.errors import Unreachable
from tests.agent.in_memory import CONFLIST, HOST, TABLES, MemoryKernel, Node, node_route, status

PAIR = (node_route(1, TABLES), node_route(2))
UNREACHABLE = Unreachable("patch noderoutes/status", "n1", "503", "no leader")


def conflist(node: Node) -> bytes | None:
    found: bytes | None = node.kernel.state["files"].get(CONFLIST)
    return found


def test_the_conflist_is_written_when_all_is_in_place_and_has_the_nodes_cidrs_and_mtu() -> None:
    node = Node(*PAIR)
    assert status(node.turn()) == (True, "Ready")
    assert node.kernel.writes[-1] == ("files", CONFLIST), "after all else"
    (ptp,) = (plugin for plugin in json.loads(conflist(node) or b"")["plugins"] if plugin["type"] == "ptp")
    assert ptp["mtu"] == 8951
    assert [one["subnet"] for (one,) in ptp["ipam"]["ranges"]] == list(map(str, PAIR[0].spec.pod_cidrs))


def test_after_a_reboot_the_old_conflist_goes_before_the_api_server_has_answered() -> None:
    kernel = MemoryKernel()
    kernel.tables["files"].entries[CONFLIST] = b"of a former boot"
    node = Node(*PAIR, kernel=kernel)
    node.agents.node_routes.synced = False
    assert node.turn().state is AgentState.LISTING
    assert conflist(node) is None
    node.agents.node_routes.synced = True
    assert node.turn().ready
    assert conflist(node)


@pytest.mark.parametrize("kind", ["links", "addresses", "nftables"])
def test_after_a_reboot_the_old_conflist_goes_even_if_all_is_known_at_once_and_something_fails(kind: Kind) -> None:
    node = Node(*PAIR)
    node.kernel.tables["files"].entries[CONFLIST] = b"of a former boot"
    node.kernel.refuse[kind, None] = ("Operation not permitted", 1_000_000)
    assert status(node.turn()) == (False, "KernelFailed")
    assert conflist(node) is None


def test_a_kernel_that_cannot_be_asked_once_is_no_reason_to_take_the_conflist_away() -> None:
    node = Node(*PAIR)
    node.settle()
    node.start()
    node.kernel.tables["links"].unreadable = "a table changed while it was being read"
    node.turn()
    assert conflist(node)
    node.kernel.tables["links"].unreadable = ""
    assert node.settle().ready


def test_after_a_restart_alone_the_conflist_stays_while_the_api_server_is_gone() -> None:
    node = Node(*PAIR)
    node.settle()
    node.agents.node_routes.synced = False
    node.start()
    assert node.turn().state is AgentState.LISTING
    assert conflist(node)


def test_a_conflist_that_somebody_deletes_or_edits_is_written_again() -> None:
    node = Node(*PAIR)
    node.settle()
    right = conflist(node)
    node.kernel.break_("files", CONFLIST)
    assert node.settle().ready
    assert conflist(node) == right
    node.kernel.tables["files"].entries[CONFLIST] = b"{}"
    node.kernel.told({"files"})
    assert node.settle().ready
    assert conflist(node) == right


def test_a_new_machine_does_not_begin_by_the_node_route_of_the_one_that_had_its_name_before() -> None:
    """EC2 reuses addresses: node name and address are those of the earlier machine."""
    node = Node(*PAIR)
    node.agents.write_status(PAIR[0], {"ready": True})
    node.agents.instance = "i-0000beef"
    report = node.turn()
    assert status(report) == (False, "NoNodeRoute")
    assert "is of i-00000001, and this is i-0000beef" in report.message
    assert not node.kernel.writes
    node.agents.instance = UNREACHABLE
    assert status(node.turn()) == (False, "NoNodeRoute")
    assert not node.kernel.writes
    node.agents.instance = PAIR[0].spec.instance_id
    assert node.turn().ready
    assert conflist(node)


def test_an_agent_asks_for_no_node_on_a_kernel_that_one_has_programmed_or_by_a_node_route_that_is_new() -> None:
    node = Node(*PAIR)
    node.agents.instance = UNREACHABLE
    assert node.turn().ready
    node.agents.write_status(PAIR[0], {"ready": True})
    node.start()
    assert node.turn().ready


def test_a_failure_later_on_does_not_take_the_conflist_away() -> None:
    """A kubelet that goes NotReady for a repair would do more harm."""
    node = Node(*PAIR)
    node.settle()
    node.kernel.refuse["links", VTEP] = ("no buffer space", 3)
    node.kernel.break_("links", VTEP)
    assert status(node.turn()) == (False, "KernelFailed")
    assert conflist(node)
    assert node.settle().ready


def test_an_agent_that_has_served_goes_on_without_cr0_and_without_an_api_server() -> None:
    """It knows whose NodeRoute it has, and that this machine has not booted since."""
    node = Node(*PAIR)
    node.settle()
    node.agents.write_status(PAIR[0], {"ready": True})
    node.agents.instance = Unreachable("get nodes", "n1", "503", "no leader")
    node.kernel.refuse["links", VTEP] = ("no buffer space", 3)
    node.kernel.break_("links", VTEP)
    for _ in range(2):
        assert status(node.turn()) == (False, "KernelFailed")
        assert conflist(node)
    assert node.settle().ready


def test_a_second_tunnel_that_fails_keeps_the_node_from_none_but_its_peers() -> None:
    """Another program may have its VNI or port over IPv6."""
    narrow = node_route(3, ips=["fd01::3"])
    node = Node(*PAIR, narrow)
    node.kernel.refuse["links", VTEP6] = ("can't be made: VNI 1 on UDP port 8472 is taken", 1_000_000)
    report = node.settle()
    assert status(report) == (False, "PeersFailed")
    assert "VNI 1 on UDP port 8472 is taken" in report.message
    assert conflist(node)
    node.withdraw("n3")
    assert node.settle().ready


def test_without_the_plugins_there_is_no_conflist_and_the_words_say_what_to_install() -> None:
    node = Node(*PAIR)
    node.kernel.installed = frozenset({"loopback"})
    report = node.turn()
    assert status(report) == (False, "CNIPluginsMissing")
    assert "ptp and host-local are in none of /opt/cni/bin: install the CNI plugins" in report.message
    assert conflist(node) is None
    node.kernel.installed |= {"ptp", "host-local"}
    assert node.settle().ready
    assert [one["type"] for one in json.loads(conflist(node) or b"")["plugins"]] == ["ptp"]


def test_no_pod_starts_while_pods_of_another_network_have_addresses_of_this_node() -> None:
    """host-local knows the leases of its own network alone. Addresses outside of the node's pod CIDRs do not matter."""
    node = Node(*PAIR)
    node.kernel.leases = {"cbr0": {packed("100.64.1.7"), packed("10.9.9.9")}, "other": {packed("172.17.0.2")}}
    report = node.turn()
    assert status(report) == (False, "AddressesInUse")
    assert report.message.startswith("pods of the network cbr0 have 1 addresses of this node, as 100.64.1.7")
    assert conflist(node) is None
    node.kernel.leases.clear()
    assert node.settle().ready
    assert conflist(node)


def test_a_nic_that_is_missing_is_said_and_found_once_it_is_there() -> None:
    node = Node(*PAIR, interface="eth7")
    host, node.kernel.facts = node.kernel.facts, "--interface eth7: there is no such network interface"
    assert status(node.turn()) == (False, "Interface")
    node.kernel.facts = host
    node.clock.time += 60
    assert node.settle().ready


def test_mtu_is_that_of_pods_and_tunnel_as_long_as_the_nic_has_room_for_it() -> None:
    node = Node(*PAIR, mtu=1400)
    assert node.settle().mtu == 1400
    assert node.kernel.state["links"][VTEP].mtu == 1400
    assert b'"mtu": 1400' in (conflist(node) or b"")
    assert not isinstance(node.kernel.facts, str)
    node.kernel.facts = node.kernel.facts._replace(mtu=1440)
    node.kernel.told({"links"})
    report = node.turn()
    assert status(report) == (False, "Interface")
    assert "--mtu 1400 does not fit: eth0 has an MTU of 1440, which leaves 1390 beside the tunnel" in report.message
    assert b'"mtu": 1400' in (conflist(node) or b""), "pods that start get what the others have"


def test_a_nic_that_gets_another_mtu_changes_device_and_conflist() -> None:
    node = Node(*PAIR)
    node.settle()
    assert not isinstance(node.kernel.facts, str)
    node.kernel.facts = node.kernel.facts._replace(mtu=1500)
    node.kernel.told({"links"})
    assert node.settle().mtu == 1450
    assert node.kernel.state["links"][VTEP].mtu == 1450
    assert b'"mtu": 1450' in (conflist(node) or b"")


def test_a_nic_that_changes_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message comes during the read, whose answer may be from before it."""
    node = Node(*PAIR)
    node.settle()
    host = node.kernel.host

    def late(interface: str) -> Host:
        monkeypatch.undo()
        found = host(interface)
        node.kernel.facts = HOST._replace(mtu=1500)
        node.kernel.told({"links"})
        return found

    monkeypatch.setattr(node.kernel, "host", late)
    node.kernel.told({"links"})
    node.turn()
    assert node.turn().mtu == 1450


def test_a_link_local_address_that_an_older_version_left_on_the_vtep_goes() -> None:
    """The address may be the gateway to a peer, and Linux accepts no local address as a gateway."""
    node = Node(*PAIR)
    gateway = link_local(vtep_mac(PAIR[1].spec.pod_cidrs))
    node.kernel.tables["addresses"].entries[AddressKey(VTEP, gateway, 64)] = None
    assert status(node.turn()) == (False, "PeersFailed")
    assert node.settle().ready
    assert {key.length for key in node.kernel.state["addresses"] if key.device == VTEP} == {32, 128}


def test_router_advertisements_are_kept_before_forwarding_is_switched_on() -> None:
    """Otherwise the kernel would drop the IPv6 default route that came from one."""
    kernel = MemoryKernel(HOST._replace(accepts_ra=True))
    Node(*PAIR, kernel=kernel).settle()
    order = [key for kind, key in kernel.writes if kind == "sysctls"]
    assert order.index("net/ipv6/conf/eth0/accept_ra") < order.index("net/ipv6/conf/all/forwarding")
    assert kernel.state["sysctls"]["net/ipv6/conf/eth0/accept_ra"] == "2"
    off = MemoryKernel()
    Node(*PAIR, kernel=off).settle()
    assert "net/ipv6/conf/eth0/accept_ra" not in off.state["sysctls"], "a daemon of its own may take them"


def test_idle_turns_read_and_write_nothing() -> None:
    node = Node(*PAIR)
    node.settle()
    node.kernel.writes.clear()
    node.kernel.reads.clear()
    for _ in range(5):
        node.turn()
    assert (node.kernel.reads, node.kernel.writes) == ([], [])


def test_a_change_that_no_message_told_of_is_found_by_the_resync() -> None:
    node = Node(*PAIR)
    node.settle()
    before = node.kernel.state
    node.kernel.tables["routes"].entries.popitem()
    assert node.turn().ready
    assert node.kernel.state != before
    node.clock.time += 400
    node.settle()
    assert node.kernel.state == before
