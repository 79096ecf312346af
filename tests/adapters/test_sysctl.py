"""Settings below /proc/sys, in a network namespace of the test's own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.adapters.sysctl import Sysctls
from tests.hosts import Namespace, require_netns

FORWARD = "net/ipv4/ip_forward"
VLAN = "net/ipv4/conf/eth0.100/rp_filter"


def actual(path: str) -> str:
    return Path("/proc/sys", path).read_text().strip()


def alter(path: str, value: str) -> None:
    Path("/proc/sys", path).write_text(value)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """A namespace with a device that has a dot in its name; the test's thread is in it."""
    require_netns()
    with Namespace("crcn-") as space, space.inside():
        run("ip", "link", "add", "eth0.100", "type", "bridge")
        yield


@pytest.fixture
def sysctls() -> Iterator[Sysctls]:
    table = Sysctls()
    yield table
    table.close()


def test_only_what_is_wanted_is_read_and_what_is_missing_left_out(sysctls: Sysctls) -> None:
    """Whitespace between several numbers is one space."""
    missing = "net/ipv4/conf/nowhere/rp_filter"
    assert sysctls.read([FORWARD, VLAN, missing, "net/ipv4/ping_group_range"]) == {
        FORWARD: actual(FORWARD),
        VLAN: actual(VLAN),
        "net/ipv4/ping_group_range": "1 0",
    }
    assert sysctls.read([]) == {}


def test_a_setting_of_a_device_with_a_dot_in_its_name_is_written(sysctls: Sysctls) -> None:
    """A VLAN device has such a name. Settings of other devices stay."""
    before = actual("net/ipv4/conf/all/rp_filter")
    assert sysctls.write({VLAN: "2", FORWARD: "1"}, ()) == {}
    assert (actual(VLAN), actual(FORWARD)) == ("2", "1")
    assert actual("net/ipv4/conf/all/rp_filter") == before
    assert sysctls.read([VLAN]) == {VLAN: "2"}


def test_a_setting_of_a_device_that_was_made_anew_is_read_at_once(sysctls: Sysctls) -> None:
    """The former device's file is still open, and can't be read any more."""
    assert sysctls.read([VLAN])
    run("ip", "link", "del", "eth0.100")
    run("ip", "link", "add", "eth0.100", "type", "bridge")
    assert sysctls.read([VLAN]) == {VLAN: actual(VLAN)}


def test_a_dropped_sysctl_keeps_its_value(sysctls: Sysctls) -> None:
    """The value before ours is not known."""
    sysctls.write({VLAN: "2"}, ())
    assert sysctls.write({}, [VLAN, "net/ipv4/conf/nowhere/rp_filter"]) == {}
    assert actual(VLAN) == "2"


def test_each_failure_is_said_and_the_others_are_written(sysctls: Sysctls) -> None:
    """A missing device, an invalid value, and a value that the kernel changes."""
    gone, all_filter = "net/ipv4/conf/gone/rp_filter", "net/ipv4/conf/all/rp_filter"
    failed = sysctls.write({gone: "2", FORWARD: "sometimes", all_filter: "02", VLAN: "1"}, ())
    assert failed == {
        gone: f"{gone} does not exist: the device is gone, or this kernel is without it (IPv6 switched off?)",
        FORWARD: f"{FORWARD} does not take 'sometimes': Invalid argument",
        all_filter: f"{all_filter} was set to 02 and is 2: see what else on this machine sets it",
    }
    assert actual(VLAN) == "1"


def in_a_container(mounts: str, script: str) -> str:
    """Output of a Python script in its own mount namespace, after these shell commands."""
    command = ["unshare", "--mount", "sh", "-euc", f'{mounts}; exec "$@"', "sh", sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


WRITES = f"from cloudroute.adapters.sysctl import Sysctls; print(Sysctls().write({{{FORWARD!r}: '1'}}, ()))"
READ_ONLY = "mount -o bind,ro /proc/sys /proc/sys"
ELSEWHERE = "mount -t tmpfs tmpfs /mnt; mkdir -p /mnt/proc/sys/net; mount --bind /proc/sys/net /mnt/proc/sys/net"
"""The node's settings, as they come into a pod; `/mnt` stands for `/host`, which this machine may lack."""
MOVED = WRITES.replace("print", "import cloudroute.adapters.sysctl as s; s.ELSEWHERE = '/mnt/proc/sys'; print", 1)


def test_a_read_only_proc_is_said() -> None:
    """An unprivileged container without the node's /proc/sys/net has one."""
    said = in_a_container(READ_ONLY, WRITES)
    assert "net/ipv4/ip_forward can't be set to 1: Read-only file system: give the agent NET_ADMIN" in said
    assert actual(FORWARD) == "0"


def test_a_read_only_proc_with_the_nodes_settings_elsewhere() -> None:
    """The agent's pod has the node's /proc/sys/net elsewhere: a write there is one of the network namespace."""
    assert in_a_container(f"{ELSEWHERE}; {READ_ONLY}", MOVED) == "{}\n"
    assert actual(FORWARD) == "1"


def test_proc_is_used_while_it_can_be_written() -> None:
    """A /proc/sys/net that is mounted elsewhere is ignored then."""
    assert in_a_container(f"{ELSEWHERE}; mount -o remount,bind,ro /mnt/proc/sys/net", MOVED) == "{}\n"
    assert actual(FORWARD) == "1"


def test_own_writes_are_not_taken_for_others(sysctls: Sysctls) -> None:
    """A failed write is no change by others, either."""
    assert not sysctls.altered()
    sysctls.read([FORWARD, VLAN])
    sysctls.write({FORWARD: "1", VLAN: "2"}, ())
    sysctls.write({FORWARD: "never"}, ())
    assert not sysctls.altered()


def test_an_alteration_is_told_once(sysctls: Sysctls) -> None:
    """Settings that were read or written count, no others; a read or write after the change ends the report."""
    sysctls.read([FORWARD])
    sysctls.read([VLAN])
    alter("net/ipv4/conf/all/rp_filter", "1")
    assert not sysctls.altered()
    for path in (FORWARD, VLAN):
        alter(path, "1")
        assert sysctls.altered()
        assert not sysctls.altered()
    alter(VLAN, "2")
    sysctls.write({VLAN: "1"}, ())
    assert not sysctls.altered()
    alter(VLAN, "2")
    assert sysctls.read([VLAN]) == {VLAN: "2"}
    assert not sysctls.altered()


def test_a_device_that_goes_and_comes_back_is_told(sysctls: Sysctls) -> None:
    """The new device of that name has settings of its own."""
    sysctls.write({VLAN: "2"}, ())
    run("ip", "link", "delete", "eth0.100")
    assert sysctls.altered()
    assert sysctls.read([VLAN]) == {}
    run("ip", "link", "add", "eth0.100", "type", "bridge")
    assert sysctls.altered()
    sysctls.write({VLAN: "2"}, ())
    run("ip", "link", "delete", "eth0.100")
    run("ip", "link", "add", "eth0.100", "type", "bridge")
    assert sysctls.altered()
    assert sysctls.read([VLAN]) == {VLAN: actual(VLAN)} != {VLAN: "2"}


def test_no_descriptor_is_left_open() -> None:
    """Descriptors of removed devices are closed, too, and all of them at the end."""

    def count() -> int:
        """Open files of sysctls: other threads of this process open and close theirs."""
        links = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/self/fd/{name}"))
        return sum("/sys/" in link for link in links)

    before = count()
    sysctls = Sysctls()
    for turn in range(5):
        sysctls.read([FORWARD, VLAN, f"net/ipv4/conf/gone{turn}/rp_filter"])
        run("ip", "link", "delete", "eth0.100")
        sysctls.altered()
        assert count() == before + 1
        run("ip", "link", "add", "eth0.100", "type", "bridge")
    sysctls.close()
    assert count() == before
