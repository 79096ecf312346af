"""Errors of a machine, a flag or a NodeRoute are reported in words that help, and harm nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packets.solo import Solo, node_route, solo
from tests.required import lacking

OURS = "10-cloudroute.conflist"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Solo]:
    with solo(tmp_path) as host:
        yield host


def routes(host: Solo) -> str:
    return host.namespace.run("ip", "route", "show", "proto", "88")


def test_once_programs_all_and_ends_with_0(host: Solo) -> None:
    host.kube.create(node_route(2))
    code, said = host.once()
    assert (code, host.conflists) == (0, [OURS]), said
    assert "100.64.2.0/24" in routes(host)
    assert host.status()["ready"] is True


def test_a_nic_that_is_not_there(host: Solo) -> None:
    with host.agent("--interface", "eth7"):
        host.wait(lambda: host.status().get("reason") == "Interface")
        said, _, names = host.status()["message"].partition("this machine has ")
        assert said == "--interface eth7: there is no such network interface; "
        assert "eth0" in names.split(", ")
    assert host.conflists == []


def test_a_nic_without_the_nodes_address(host: Solo) -> None:
    host.namespace.run("ip", "link", "set", "vpc0", "up")
    host.namespace.run("ip", "addr", "add", "192.0.2.1/24", "dev", "vpc0")
    words = "vpc0 has none of the node's addresses (10.0.0.1, fd01::1): name the NIC that has one by --interface"
    host.fails("Interface", words, "--interface", "vpc0")


def test_a_vni_that_another_device_has_and_what_happens_when_it_goes(host: Solo) -> None:
    host.namespace.run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dev", "eth0", "dstport", "8472")
    host.namespace.run("ip", "link", "set", "flannel.1", "up")
    with host.agent():
        host.wait(lambda: host.status().get("reason") == "KernelFailed")
        assert "VNI 1 on UDP port 8472 is taken by the device flannel.1" in host.status()["message"]
        assert "--vni or --vxlan-port" in host.status()["message"]
        assert host.conflists == []
        assert host.metric("cloudroute_agent_ready") == 0
        assert host.metric('cloudroute_agent_failed{kind="links"}') == 1
        host.namespace.run("ip", "link", "del", "flannel.1")
        host.wait(lambda: host.status().get("ready") is True)
        assert host.conflists == [OURS]
        assert host.metric("cloudroute_agent_ready") == 1


def test_another_vni_lives_beside_it(host: Solo) -> None:
    host.namespace.run("ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "dev", "eth0", "dstport", "8472")
    host.namespace.run("ip", "link", "set", "flannel.1", "up")
    code, said = host.once("--vni", "77", "--vxlan-port", "8473")
    assert code == 0, said
    assert "flannel.1" in host.namespace.run("ip", "link")


def test_without_net_admin(host: Solo) -> None:
    if shutil.which("setpriv") is None:
        lacking("setpriv")
    code, said = host.once(wrap=("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"))
    assert code == 1
    assert "NET_ADMIN" in said
    assert "Traceback" not in said


def test_without_nft(host: Solo) -> None:
    # Its folder hidden, for this process alone: the command is looked for where PATH does not lead, too.
    hide = 'mount -t tmpfs none $(dirname $(command -v nft)); exec "$@"'
    code, said = host.once(wrap=("unshare", "--mount", "sh", "-ec", hide, "sh"))
    assert code == 1
    assert "there is no nft command: install it (the package is called nftables)" in said
    assert "Traceback" not in said


def test_without_cni_plugins(host: Solo, tmp_path: Path) -> None:
    words = f"ptp and host-local are in none of {tmp_path}: install the CNI plugins there"
    host.fails("CNIPluginsMissing", words, CNI_PATH=str(tmp_path))
    assert host.conflists == []


def test_a_cni_directory_that_is_a_file(host: Solo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host.fails("ConflistFailed", "--cni-conf-dir", "--cni-conf-dir", str(tmp_path / "file"))


def test_another_conflist_that_comes_first_is_named(host: Solo) -> None:
    host.conf_dir.mkdir()
    (host.conf_dir / "05-other.conflist").write_text("{}")
    code, said = host.once()
    assert code == 0
    assert "05-other.conflist" in said
    assert host.conflists == ["05-other.conflist", OURS]


def test_a_node_route_that_overlaps_an_older_one_harms_nobody(host: Solo) -> None:
    host.kube.create(node_route(2))
    host.kube.create(node_route(3, podCIDRs=["100.64.2.128/25"]))
    host.kube.create(node_route(4))
    with host.agent():
        host.wait(lambda: host.status().get("ready") is True)
        found = routes(host)
        assert "100.64.2.0/24" in found
        assert "100.64.4.0/24" in found
        assert "100.64.2.128/25" not in found
        assert host.metric("cloudroute_agent_peer_problems") == 1
        host.wait(lambda: "that of n2, which is older, have 100.64.2.128/25 in common" in host.log.read_text())


def test_a_node_route_over_the_vpc_itself_is_not_programmed(host: Solo) -> None:
    host.kube.create(node_route(2, podCIDRs=["10.0.0.0/16"]))
    code, said = host.once()
    assert code == 0
    assert "this node's own addresses" in said
    assert "10.0.0.0/16" not in routes(host)


def test_somebody_elses_route_to_a_nodes_pods_is_left_and_said_and_taken_over_when_it_goes(host: Solo) -> None:
    host.kube.create(node_route(2))
    host.kube.create(node_route(3))
    host.namespace.run("ip", "route", "add", "100.64.2.0/24", "via", "10.0.0.77", "proto", "bird")
    with host.agent():
        host.wait(lambda: host.status().get("reason") == "PeersFailed")
        assert "route 100.64.2.0/24: is already routed via 10.0.0.77" in host.status()["message"]
        assert "100.64.3.0/24" in routes(host)
        assert host.conflists == [OURS], "pods of this node work"
        assert "via 10.0.0.77" in host.namespace.run("ip", "route", "show", "100.64.2.0/24")
        host.namespace.run("ip", "route", "del", "100.64.2.0/24")
        host.wait(lambda: host.status().get("ready") is True)
        assert "100.64.2.0/24" in routes(host)


def test_no_node_route_yet_and_an_api_server_that_is_away(host: Solo) -> None:
    host.kube.delete("noderoutes", "n1")
    host.conf_dir.mkdir()
    (host.conf_dir / OURS).write_text("of a former boot")
    with host.agent():
        host.wait(lambda: host.conflists == [])
        host.wait(lambda: "there is no NodeRoute n1" in host.log.read_text())
        host.kube.create(node_route(1))
        host.wait(lambda: host.conflists == [OURS])
    code, said = host.once("--kubeconfig", str(host.conf_dir / "nowhere"))
    assert code == 2
    assert "--kubeconfig" in said
    assert "Traceback" not in said


def test_all_bad_flags_are_said_at_once() -> None:
    from cloudroute.cli import main

    flags = ["--vni", "0", "--vxlan-port", "x", "--interface", "a/b", "--masquerade", "maybe", "--cni-conf-dir", "etc"]
    assert main(["agent", *flags]) == 2
