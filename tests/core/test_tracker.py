"""One kind of kernel table: the difference, and what failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.node.tracker import Tracker
from cloudroute.dataplane import Nexthop

TABLES = st.dictionaries(st.integers(0, 8), st.integers(0, 3))


@given(TABLES, TABLES, st.sets(st.integers(0, 8)))
def test_written_entries_are_there_and_failed_ones_stay_pending(
    wanted: dict[int, int], actual: dict[int, int], refused: set[int]
) -> None:
    tracker: Tracker[int, int] = Tracker("routes")
    tracker.wanted = wanted
    tracker.found(dict(actual))
    put, drop = tracker.puts(), tracker.drops()
    assert {**{k: v for k, v in actual.items() if k not in drop}, **put} == wanted
    assert all(actual.get(key) != value or key not in actual for key, value in put.items())
    failures = {key: "no" for key in refused if key in put or key in drop}
    tracker.wrote(put, drop, failures)
    assert tracker.failed == failures
    assert set(tracker.puts()) | set(tracker.drops()) == set(failures)
    tracker.wrote(tracker.puts(), tracker.drops(), {})
    assert (tracker.actual, tracker.failed, tracker.puts(), tracker.drops()) == (wanted, {}, {}, [])


def test_a_failed_entry_that_became_right_by_itself_is_no_failure() -> None:
    tracker: Tracker[str, str] = Tracker("sysctls")
    tracker.wanted = {"forwarding": "1"}
    tracker.found({})
    tracker.wrote(tracker.puts(), (), {"forwarding": "does not exist"})
    tracker.found({"forwarding": "1"})
    assert tracker.failed == {}


def test_entries_that_were_read_and_are_right_are_compared_once() -> None:
    compared = 0

    class Address(bytes):
        __hash__ = bytes.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return super().__eq__(other)

    wanted = {id_: Nexthop(Address(bytes((10, 0, 0, id_))), "eth0") for id_ in range(100)}
    tracker: Tracker[int, Nexthop] = Tracker("nexthops")
    tracker.want(wanted)
    tracker.found({id_: Nexthop(bytes(to.gateway), "eth0") for id_, to in wanted.items()})
    assert tracker.puts() == {}
    assert compared == 100
    tracker.want({**wanted, 7: Nexthop(b"\x0a\0\0\x07", "cr0")})
    assert tracker.puts().keys() == {7}
    assert compared - 100 == 2, "the one that differs, by the whole table and then by itself"


def test_a_map_that_was_in_sync_is_compared_again_after_a_write_of_another() -> None:
    """The very same map is wanted, then another one, then the first again."""
    first, other = {1: 1}, {1: 2}
    tracker: Tracker[int, int] = Tracker("routes")
    tracker.want(first)
    tracker.found({1: 1})
    assert tracker.puts() == {}
    tracker.want(other)
    tracker.wrote(tracker.puts(), (), {})
    tracker.want(first)
    assert tracker.puts() == {1: 1}
