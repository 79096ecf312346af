"""Changes that others make to our table are told at once; own writes and foreign tables are not."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator

import pytest

from cloudroute.adapters.nft import events
from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.events import is_foreign
from cloudroute.dataplane import TABLE, Kind
from tests.adapters.nft.kit import RULESET
from tests.hosts import Namespace
from tests.waiting import eventually

SECONDS = 10.0
MARK = f"add chain inet {TABLE} foreign"


class Heard:
    """Counts what is told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.kinds: list[Collection[Kind]] = []

    def __call__(self, kinds: Collection[Kind]) -> None:
        with self._changed:
            self.kinds.append(kinds)
            self._changed.notify_all()

    def wait(self, count: int) -> int:
        """Until it was told `count` times; how often it was."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.kinds) >= count, SECONDS)
            return len(self.kinds)


@pytest.fixture
def heard(nft: Nft) -> Iterator[Heard]:
    """Listening to a table that is there."""
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    heard = Heard()
    nft.listen(heard)
    yield heard
    assert nft.dead() == ""


@pytest.mark.parametrize(
    "foreign",
    [
        "flush ruleset",
        f"delete table inet {TABLE}",
        f"flush chain inet {TABLE} leaving",
        f"add rule inet {TABLE} leaving accept",
        f"add element inet {TABLE} hosts4 {{ 10.0.0.9 }}",
        f"delete element inet {TABLE} hosts4 {{ 10.0.3.4 }}",
        f"add chain inet {TABLE} count {{ policy drop; }}",
        f"add set inet {TABLE} mine {{ type ipv4_addr; }}",
        f"add counter inet {TABLE} mine",
    ],
)
def test_a_foreign_change_is_told(heard: Heard, host: Namespace, foreign: str) -> None:
    """Any transaction of another process that names our table, or deletes everything."""
    host.run("nft", foreign)
    assert heard.wait(1) >= 1
    assert heard.kinds[0] == {"nftables"}


def test_own_writes_are_not_told(heard: Heard, nft: Nft, host: Namespace) -> None:
    """Neither elements, nor a redefinition, nor a drop: the first that is heard is the foreign change after them."""
    nft.table.write({TABLE: RULESET._replace(hosts=frozenset())}, ())
    nft.table.write({TABLE: RULESET._replace(port=9)}, ())
    nft.table.write({}, (TABLE,))
    nft.table.write({TABLE: RULESET}, ())
    nft.table.read(())
    host.run("nft", MARK)  # announcements are in order: when this one was heard, none before it was
    assert heard.wait(1) == 1


def test_own_writes_of_thousands_are_not_told(heard: Heard, nft: Nft, host: Namespace) -> None:
    """Defining a table of 30,000 elements overflows nothing."""
    hosts = frozenset(i.to_bytes(4, "big") for i in range(30_000))
    nft.table.write({TABLE: RULESET._replace(hosts=hosts, port=9)}, ())
    host.run("nft", MARK)
    assert heard.wait(1) == 1


def test_foreign_tables_are_not_told(heard: Heard, host: Namespace) -> None:
    """Not even one of our name in another family, or a set of our name in another table."""
    host.run(
        "nft", f"add table ip {TABLE}; add chain ip {TABLE} c; add rule ip {TABLE} c accept; delete table ip {TABLE}"
    )
    host.run(
        "nft",
        f"add table inet {TABLE}2; add table inet kube-proxy; add set inet kube-proxy {TABLE} {{ type ipv4_addr; }}",
    )
    host.run("nft", f"add element inet kube-proxy {TABLE} {{ 10.0.0.1 }}; delete table inet kube-proxy")
    host.run("nft", MARK)
    assert heard.wait(1) == 1


def test_lost_announcements_are_told_as_a_change(nft: Nft, host: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel could not tell all, somebody may have changed the table."""
    monkeypatch.setattr(events, "RECEIVE_BYTES", 1)
    heard = Heard()
    free = threading.Event()

    def changed(kinds: Collection[Kind]) -> None:
        heard(kinds)
        free.wait(SECONDS)

    nft.table.write({TABLE: RULESET}, ())
    nft.listen(changed)
    host.run("nft", MARK)
    assert heard.wait(1) == 1
    hosts = frozenset(i.to_bytes(4, "big") for i in range(3000))
    nft.table.write({TABLE: RULESET._replace(hosts=hosts)}, ())  # too much for a listener that does not receive
    free.set()
    assert heard.wait(2) == 2


def test_own_writes_are_known_in_a_container(host: Namespace) -> None:
    """In a pid namespace the kernel's own pids are others than those that we see."""
    script = """
import subprocess
from cloudroute.adapters.nft.client import Nft
from cloudroute.dataplane import TABLE
from tests.adapters.nft.kit import RULESET
from tests.adapters.nft.test_events import MARK, Heard

nft, heard = Nft(), Heard()
nft.listen(heard)
assert nft.table.write({TABLE: RULESET}, ()) == {}
subprocess.run(["nft", MARK], check=True)
print(heard.wait(1))
nft.close()
"""
    inside = ("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", script)
    assert subprocess.run(inside, check=True, capture_output=True, text=True).stdout == "1\n"


def test_a_listener_that_failed_is_named(nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ends by itself is told by its name, so that the process ends."""
    silence: Callable[[threading.ExceptHookArgs], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(threading, "excepthook", silence)

    def fail(_: Collection[Kind]) -> None:
        raise RuntimeError

    nft.table.write({TABLE: RULESET}, ())
    nft.listen(fail)
    assert nft.dead() == ""
    subprocess.run(["nft", MARK], check=True)
    eventually(lambda: nft.dead() == "nft-events", "the listener's end is known")
    nft.close()


def test_garbage_is_no_change() -> None:
    """A datagram that is cut short or has no lengths ends the search, and does not hang it."""
    name = TABLE.encode() + b"\0"
    whole = struct.pack("=IHHIIBBHHH", 44, 0xA06, 0, 0, 77, 1, 0, 0, 4 + len(name), 1) + name + b"\0"
    assert is_foreign(whole, len(whole), ())
    assert not is_foreign(whole, len(whole), {77})
    for size in range(len(whole) - 1):
        assert not is_foreign(whole, size, ())
    assert not is_foreign(bytes(64) + name, 64 + len(name), ())
