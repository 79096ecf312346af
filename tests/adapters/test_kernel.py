"""A node's kernel as a whole: changes by other programs are reported, whichever adapter notices them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from cloudroute.adapters.kernel import HostKernel
from cloudroute.dataplane import KINDS, TABLE, VTEP, Kind, Link, Ruleset, Vxlan, packed
from cloudroute.types import Cidr
from tests.hosts import Namespace, require_netns, require_nftables

SECONDS = 10.0
"""Longest time until a change is noticed on a busy machine: settings are polled once a second."""
VXLAN = Vxlan(1, 8472, packed("10.0.3.4"), "eth0")
TUNNEL = Link("vxlan", bytes.fromhex("0a580af40300"), mtu=1450, up=True, vxlan=VXLAN)
RULESET = Ruleset(masquerade=True, pods=(Cidr.parse("10.244.3.0/24"),), port=8472)
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/eth0/rp_filter": "2",
    "net/ipv6/conf/eth0/accept_ra": "2",
    "net/ipv6/conf/all/forwarding": "1",
}


class Told:
    """Kinds that `listen` has reported so far."""

    def __init__(self) -> None:
        self.kinds: set[Kind] = set()
        self._news = threading.Condition()

    def __call__(self, kinds: Collection[Kind]) -> None:
        assert kinds
        with self._news:
            self.kinds |= set(kinds)
            self._news.notify_all()

    def wait(self, kind: Kind) -> set[Kind]:
        """Wait until `kind` is reported; return all kinds reported since the last call."""
        with self._news:
            assert self._news.wait_for(lambda: kind in self.kinds, SECONDS), f"{kind} never told, only {self.kinds}"
            kinds, self.kinds = self.kinds, set()
            return kinds


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """A host with a NIC and default routes, that this thread is in."""
    require_netns()
    require_nftables()
    with Namespace("crcn-") as node, Namespace("crcn-") as router, node.inside():
        ip(f"link add eth0 type veth peer name r0 netns {router.name}")
        router.run("ip", "link", "set", "r0", "up")
        ip("link set eth0 up")
        ip("address add 10.0.3.4/24 dev eth0")
        ip("route add default via 10.0.3.1 dev eth0")
        yield


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    return tmp_path / "net.d"


@pytest.fixture
def ours(conf_dir: Path) -> Path:
    return conf_dir / "10-cloudroute.conflist"


@pytest.fixture
def kernel(conf_dir: Path) -> Iterator[HostKernel]:
    kernel = HostKernel(str(conf_dir))
    yield kernel
    kernel.close()


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def program(kernel: HostKernel, ours: Path) -> None:
    """Write an entry of each kind, as the agent does: read first, then put."""
    for kind in KINDS:
        kernel.tables[kind].read(())
    assert kernel.tables["links"].write({VTEP: TUNNEL}, ()) == {}
    assert kernel.tables["sysctls"].write(SYSCTLS, ()) == {}
    assert kernel.tables["nftables"].write({TABLE: RULESET}, ()) == {}
    assert kernel.tables["files"].write({str(ours): b"{}\n"}, ()) == {}


def test_there_is_a_table_for_each_kind(kernel: HostKernel, ours: Path) -> None:
    """Each table reads the entries that were written to it."""
    assert set(kernel.tables) == set(KINDS)
    program(kernel, ours)
    wanted: dict[Kind, dict[str, object]] = {
        "links": {VTEP: TUNNEL},
        "sysctls": dict(SYSCTLS),
        "nftables": {TABLE: RULESET},
        "files": {str(ours): b"{}\n"},
    }
    for kind, entries in wanted.items():
        assert kernel.tables[kind].read(entries.keys()) == entries


def test_the_host_is_found_by_its_default_route(kernel: HostKernel) -> None:
    """Its name, its addresses and its gateway."""
    host = kernel.host("")
    assert (host.interface, host.gateways) == ("eth0", (packed("10.0.3.1"),))
    assert (packed("10.0.3.4"), 24) in host.addresses


def test_cni_configurations_of_others_are_named(
    kernel: HostKernel, conf_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugins, and the configurations that shadow ours."""
    conf_dir.mkdir()
    (conf_dir / "05-other.conf").write_text("{}")
    (conf_dir / "ptp").touch(0o755)
    monkeypatch.setenv("CNI_PATH", str(conf_dir))
    assert kernel.shadowing() == ["05-other.conf"]
    assert kernel.plugins() == (frozenset({"ptp"}), (str(conf_dir),))


CHANGES: dict[str, tuple[Kind, Callable[[Path], object]]] = {
    "a device's MTU": ("links", lambda _: ip(f"link set {VTEP} mtu 1400")),
    "a setting that the kernel tells of": ("sysctls", lambda _: alter("net/ipv4/conf/eth0/rp_filter", "1")),
    "a setting that it tells of in another way": ("sysctls", lambda _: alter("net/ipv4/ip_forward", "0")),
    "a setting that nobody tells of": ("sysctls", lambda _: alter("net/ipv6/conf/eth0/accept_ra", "1")),
    "the table of nftables": ("nftables", lambda _: subprocess.run(["nft", f"delete table inet {TABLE}"], check=True)),
    "a deleted file": ("files", lambda ours: ours.unlink()),
    "an edited file": ("files", lambda ours: ours.write_text("{ }\n")),
}


def alter(path: str, value: str) -> None:
    Path("/proc/sys", path).write_text(value)


def test_each_change_by_others_is_told_and_own_writes_are_not(kernel: HostKernel, ours: Path) -> None:
    """Each change names its own kind: the first report after the writes is no report of them."""
    told = Told()
    kernel.listen(told)
    for name, (kind, change) in CHANGES.items():
        program(kernel, ours)
        change(ours)
        assert told.wait(kind) == {kind}, name
    assert kernel.dead() == ""


def test_settings_of_other_devices_are_not_told(kernel: HostKernel, ours: Path) -> None:
    """The kernel announces settings of each new pod's device, which are not ours."""
    told = Told()
    kernel.listen(told)
    program(kernel, ours)
    for number in range(20):
        ip(f"link add pod{number} type bridge")
        alter(f"net/ipv4/conf/pod{number}/rp_filter", "1")
    ours.unlink()
    assert told.wait("files") == {"files"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_named(kernel: HostKernel, ours: Path) -> None:
    """An error in the callback ends the thread."""
    called = threading.Event()

    def fail(kinds: Collection[Kind]) -> None:
        called.set()
        raise RuntimeError("a bug")

    program(kernel, ours)
    kernel.listen(fail)
    assert kernel.dead() == ""
    (poller,) = [thread for thread in threading.enumerate() if thread.name == "host-poll"]
    ours.unlink()
    assert called.wait(SECONDS)
    poller.join(SECONDS)
    assert kernel.dead() == "host-poll"


def test_the_end_leaves_no_thread_and_no_descriptor(conf_dir: Path, ours: Path) -> None:
    """Whether it listened or not. The entries in the kernel stay."""
    descriptors, threads = len(os.listdir("/proc/self/fd")), set(threading.enumerate())
    for listens in (True, False):
        kernel = HostKernel(str(conf_dir))
        program(kernel, ours)
        if listens:
            kernel.listen(Told())
        kernel.close()
        assert set(threading.enumerate()) == threads
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert kernel.dead() == ""
    assert ours.read_bytes() == b"{}\n"
