"""Pods get their network from the real plugins, run as a container runtime runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.cni import Runtime, find_conflist
from cloudroute.lab.hosts.netns import Namespace, leftovers
from tests.hosts import require_cni, require_netns

PREFIX = f"crlhc{os.getpid()}-"
RANGES = ("100.64.1.0/24", "fd00:64:1::/80")


class Machine:
    """A host with a container runtime and no agent."""

    def __init__(self, name: str, folder: Path) -> None:
        self.namespace = Namespace(PREFIX + name)
        self.namespace.create()
        self.namespace.sysctl({"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0"})
        self.conf_dir = folder / name / "net.d"
        self.conf_dir.mkdir(parents=True)
        self.runtime = Runtime(self.namespace, self.conf_dir, folder / name / "var-lib")

    def configure(self, *plugins: dict[str, Any]) -> None:
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in RANGES], "routes": routes}
        bridge = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": ipam}
        conflist = {"cniVersion": "1.0.0", "name": "lab", "plugins": [bridge, *plugins]}
        (self.conf_dir / "10-lab.conflist").write_text(json.dumps(conflist))

    def pod(self, name: str) -> Namespace:
        namespace = Namespace(f"{self.namespace.name}-{name}")
        namespace.create()
        namespace.sysctl({"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0"})
        return namespace

    def devices(self) -> set[str]:
        """Names of all devices but the loopback, without those of their peers."""
        return {line.split()[0].partition("@")[0] for line in self.namespace.run("ip", "-br", "link").splitlines()[1:]}


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    require_netns()
    require_cni()
    try:
        yield Machine("one", tmp_path), Machine("two", tmp_path)
    finally:
        for left in leftovers(PREFIX):
            left.delete()


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}


def test_two_pods_of_a_host_have_addresses_of_both_families_and_reach_each_other(
    machines: tuple[Machine, Machine],
) -> None:
    host, _ = machines
    host.configure(PORTMAP)
    one, two = (host.pod(name) for name in ("a", "b"))
    assert host.runtime.add(one).addresses == ("100.64.1.2", "fd00:64:1::2")
    for address in host.runtime.add(two).addresses:
        assert "1 received" in one.run("ping", "-c1", "-W2", address)


def test_hosts_share_no_leases(machines: tuple[Machine, Machine]) -> None:
    for machine in machines:
        machine.configure()
        assert machine.runtime.add(machine.pod("a")).addresses == ("100.64.1.2", "fd00:64:1::2")
    assert not Path("/var/lib/cni/networks/lab").exists()


def test_a_pod_that_is_removed_gives_back_its_address_and_its_device(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.configure(PORTMAP)
    attachment = host.runtime.add(host.pod("a"))
    assert _leases(host)
    assert len(host.devices()) == 2
    host.runtime.delete(attachment)
    assert host.devices() == {"cbr0"}
    assert not _leases(host)
    host.runtime.delete(attachment)


def _leases(host: Machine) -> list[str]:
    folder = host.runtime.var_lib / "cni" / "networks" / "lab"
    return [path.name for path in folder.iterdir() if path.name[0].isdigit() or path.name.startswith("fd00")]


def test_a_pod_whose_namespace_has_gone_is_removed_all_the_same(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.configure(PORTMAP)
    pod = host.pod("a")
    attachment = host.runtime.add(pod)
    pod.delete()
    host.runtime.delete(attachment)
    assert not _leases(host)


def test_a_plugin_that_refuses_is_heard_and_what_was_done_before_is_undone(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.configure({"type": "tuning", "sysctl": {"net.ipv4.nonsense": "1"}})
    with pytest.raises(CloudrouteError, match="nonsense"):
        host.runtime.add(host.pod("a"))
    assert host.devices() == {"cbr0"}
    assert not _leases(host)


def test_a_plugin_that_is_not_there_is_named(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    host.configure({"type": "nosuchplugin"})
    with pytest.raises(CloudrouteError, match="nosuchplugin"):
        host.runtime.add(host.pod("a"))


def test_without_a_configuration_or_with_garbage_it_says_so(machines: tuple[Machine, Machine]) -> None:
    host, _ = machines
    assert not host.runtime.ready
    with pytest.raises(CloudrouteError, match="no CNI configuration"):
        host.runtime.add(host.pod("a"))
    for garbage in ("{", "[]", '{"cniVersion": "1.0.0"}'):
        (host.conf_dir / "10-lab.conflist").write_text(garbage)
        with pytest.raises(CloudrouteError, match=r"10-lab\.conflist"):
            host.runtime.add(Namespace("unused"))


def test_the_first_configuration_by_name_counts_and_temporary_files_do_not(tmp_path: Path) -> None:
    assert find_conflist(tmp_path / "nothing") is None
    for name in ("20-b.conflist", "10-a.conflist", "00-a.conflist.tmp", "05-notes.txt"):
        (tmp_path / name).touch()
    assert find_conflist(tmp_path) == tmp_path / "10-a.conflist"
