"""The findings of doctor on a machine: tried on real kernels, in network namespaces that stand for nodes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.adapters.machine import look
from cloudroute.core.explain.doctor.facts import MachineFacts
from cloudroute.core.explain.doctor.findings import Unknown, known
from cloudroute.core.explain.doctor.policies import QUEUE
from cloudroute.dataplane import packed
from cloudroute.types import Cidr
from tests.hosts import Namespace, require_netns
from tests.required import lacking
from tests.waiting import eventually

VNI, PORT = 1, 8472


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A namespace with a NIC and a default route."""
    require_netns()
    if shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        lacking("nftables")
    with Namespace("crdr-") as made:
        made.shell(
            "ip link add eth0 type veth peer name far; ip addr add 10.9.0.2/24 dev eth0; ip link set far up;"
            "ip link set eth0 mtu 9001 up; ip route add default via 10.9.0.1"
        )
        # The kernel says a moment later that a link is up.
        eventually(lambda: made.run("ip", "link").count("state UP") == 2, "both ends of the NIC to be up")
        yield made


def facts(host: Namespace, tmp_path: Path) -> MachineFacts:
    with host.inside():
        found = look(str(tmp_path), VNI, PORT)
    assert isinstance(found, MachineFacts)
    return found


def test_a_machine_that_can_be_a_node(host: Namespace, tmp_path: Path) -> None:
    """The kernel takes one of each, the NIC is found, nobody else is there; and the trial leaves nothing behind."""
    before = host.run("ip", "-d", "link") + host.run("ip", "nexthop") + host.run("nft", "list", "ruleset")
    found = facts(host, tmp_path)
    tried = dict(known(found.tried))
    assert (tried.pop(QUEUE) == "") == has_queue(host)
    assert tried == dict.fromkeys(("vxlan", "nexthop objects", "nftables"), "")
    nic = known(found.host)
    assert (nic.interface, nic.mtu, nic.addresses) == ("eth0", 9001, ((packed("10.9.0.2"), 24),))
    assert (found.net_admin, found.shadowing, found.devices, found.forward_drop) == (True, [], [], [])
    assert host.run("ip", "-d", "link") + host.run("ip", "nexthop") + host.run("nft", "list", "ruleset") == before


def has_queue(host: Namespace) -> bool:
    """Whether nft takes a queue statement, by a check that makes nothing."""
    words = "add table inet t; add chain inet t c; add rule inet t c queue"
    with host.inside():
        return subprocess.run(["nft", "-c", words], capture_output=True).returncode == 0


def test_bridges_are_known_by_their_networks(host: Namespace, tmp_path: Path) -> None:
    """With whether the host sees what passes from port to port, which takes both families' settings."""
    host.shell("ip link add cni0 type bridge; ip addr add 100.64.1.1/24 dev cni0; ip link add empty type bridge")
    assert facts(host, tmp_path).bridges == {"cni0": [Cidr.parse("100.64.1.0/24")], "empty": []}
    seen = {}
    for family in ("iptables", "ip6tables"):
        for value in (0, 1):
            host.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}={value}")
            seen[family, value] = facts(host, tmp_path).bridge_netfilter
    assert seen == {("iptables", 0): False, ("iptables", 1): True, ("ip6tables", 0): False, ("ip6tables", 1): True}


def test_leftovers_of_another_network(host: Namespace, tmp_path: Path) -> None:
    """Its tunnel with our id and port, its bridge, and a device that has our name."""
    host.shell("ip link add flannel.1 type vxlan id 1 dstport 8472 local 10.9.0.2 dev eth0 nolearning")
    host.shell("ip link add cni0 type bridge; ip link add cr0 type bridge; ip link add eth9 type veth peer name cali1")
    assert sorted(facts(host, tmp_path).devices) == [
        "cali1 is of another pod network",
        "cni0 is of another pod network",
        "cr0 is a bridge of somebody else's, whose name the agent needs",
        "flannel.1 is a VXLAN device with our id 1 and port 8472",
    ]


def test_a_firewall_that_drops(host: Namespace, tmp_path: Path) -> None:
    """Its chain is named; ours and those that accept are not."""
    host.shell(
        "nft add table ip filter;"
        "nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }';"
        "nft 'add chain ip filter INPUT { type filter hook input priority 0; policy drop; }';"
        "nft add table inet fine; nft 'add chain inet fine forward { type filter hook forward priority 0; }'"
    )
    assert facts(host, tmp_path).forward_drop == ["nftables ip filter FORWARD"]


def test_other_configurations(host: Namespace, tmp_path: Path) -> None:
    """CNI configurations that sort before ours are named."""
    for name in ("05-flannel.conflist", "99-last.conf"):
        (tmp_path / name).write_text("{}")
    assert facts(host, tmp_path).shadowing == ["05-flannel.conflist"]


def test_a_machine_without_a_default_route(host: Namespace, tmp_path: Path) -> None:
    """The NIC is not known, and said so; all else is checked."""
    host.run("ip", "route", "del", "default")
    found = facts(host, tmp_path)
    assert isinstance(found.host, Unknown)
    assert "no default route" in found.host.why
    assert known(found.tried)["vxlan"] == ""


def test_a_user_that_is_not_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Is told to be."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = look(str(tmp_path), VNI, PORT)
    assert isinstance(found, Unknown)
    assert "sudo" in found.why
