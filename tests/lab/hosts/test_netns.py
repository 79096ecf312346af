"""Namespaces are created, and removed completely."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.netns import Namespace, leftovers
from tests.hosts import require_netns

PREFIX = f"crlhn{os.getpid()}-"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    require_netns()
    made = Namespace(f"{PREFIX}one")
    made.create()
    yield made
    for left in leftovers(PREFIX):
        left.delete()


def home() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_program_in_it_sees_its_devices_only(namespace: Namespace) -> None:
    assert namespace.run("ip", "-br", "link").split()[0] == "lo"
    assert namespace.run("ls", "/sys/class/net").split() == ["lo"]
    assert "UP" in namespace.run("ip", "link", "show", "lo")


def test_a_command_that_fails_says_why_in_its_own_words(namespace: Namespace) -> None:
    with pytest.raises(
        CloudrouteError, match=r"one ip link show nothing: exit code 1: Device \"nothing\" does not exist"
    ):
        namespace.run("ip", "link", "show", "nothing")
    assert namespace.run("false", check=False) == ""
    with pytest.raises(CloudrouteError, match=r"no end after 0\.1 s"):
        namespace.run("sleep", "60", timeout=0.1)


def test_a_second_namespace_of_the_same_name_is_refused(namespace: Namespace) -> None:
    with pytest.raises(CloudrouteError, match="File exists"):
        namespace.create()


def test_a_socket_opened_inside_stays_there_and_the_thread_comes_back(namespace: Namespace) -> None:
    before = home()
    with namespace.inside():
        assert home() == namespace.path.stat().st_ino != before
        listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        assert home() == before
        port = listener.getsockname()[1]
        assert f":{port} " in namespace.run("ss", "-Hltn")


def test_the_thread_comes_back_when_something_fails_inside(namespace: Namespace) -> None:
    before = home()
    with pytest.raises(ZeroDivisionError), namespace.inside():
        _ = 1 // 0
    assert home() == before


def test_a_sysctl_is_written_in_the_namespace_and_nowhere_else(namespace: Namespace) -> None:
    here = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    namespace.sysctl({"net/ipv4/ip_default_ttl": "77"})
    assert namespace.run("cat", "/proc/sys/net/ipv4/ip_default_ttl").strip() == "77"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == here


def test_deleting_kills_what_runs_in_it_even_if_frozen(namespace: Namespace) -> None:
    running, frozen = (
        namespace.popen(["sh", "-c", "echo there; exec sleep 600"], stdout=subprocess.PIPE) for _ in range(2)
    )
    for process in (running, frozen):
        assert process.stdout is not None
        with process.stdout as said:
            assert said.readline() == b"there\n"
    frozen.send_signal(signal.SIGSTOP)
    namespace.delete()
    assert running.wait(5) == frozen.wait(5) == -signal.SIGKILL
    assert not namespace.exists
    namespace.delete()


def test_leftovers_are_found_by_prefix(namespace: Namespace) -> None:
    Namespace(f"{PREFIX}two").create()
    assert [left.name for left in leftovers(PREFIX)] == [f"{PREFIX}one", f"{PREFIX}two"]
    assert leftovers("crlhnothing-") == []
