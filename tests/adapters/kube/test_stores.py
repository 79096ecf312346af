"""Own writes are visible at once, and a delayed watch does not undo them."""

from __future__ import annotations

import pytest

from cloudroute.adapters.kube.project import Meta
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.types import Node


def node(version: int, name: str = "n1", uid: str = "u1", priority: int = 0) -> tuple[Meta, Node]:
    return Meta(name, uid, version), Node(name, uid, str(version), "", "i-1", priority=priority)


class Watched:
    """A store, and the number of changes that it reported."""

    def __init__(self) -> None:
        self.changes = 0
        self.store: MemoryStore[Node] = MemoryStore(self._count)

    def _count(self) -> None:
        self.changes += 1

    def priorities(self) -> dict[str, int]:
        return {name: node.priority for name, node in self.store.items().items()}


@pytest.fixture
def watched() -> Watched:
    watched = Watched()
    watched.store.replace(10, [node(5), node(6, "n2", "u2")])
    return watched


def test_the_first_list_syncs_the_store_even_when_it_is_empty() -> None:
    """The first list syncs an empty store, and is reported: the loop may then begin."""
    watched = Watched()
    assert not watched.store.wait_synced(0)
    watched.store.replace(1, [])
    assert watched.store.wait_synced(0)
    assert watched.changes == 1


def test_a_snapshot_never_changes_and_is_shared_until_the_next_change(watched: Watched) -> None:
    """items() copies once per change, however often it is called."""
    before = watched.store.items()
    assert watched.store.items() is before
    watched.store.upsert(*node(11, priority=3))
    assert before["n1"].priority == 0
    assert watched.store.items()["n1"].priority == 3
    with pytest.raises(TypeError):
        before["n1"] = before["n2"]  # type: ignore[index] # that it can't be written is what is tested


def test_an_own_write_shows_before_the_watch_has_it(watched: Watched) -> None:
    """The answer to a write is in the store as soon as it is put."""
    watched.store.put(*node(20, priority=7))
    assert watched.priorities() == {"n1": 7, "n2": 0}


def test_older_events_do_not_undo_an_own_write(watched: Watched) -> None:
    """Watch events of versions before an own write are ignored; later ones apply."""
    watched.store.put(*node(20, priority=7))
    watched.store.upsert(*node(15, priority=1))
    assert watched.priorities()["n1"] == 7
    watched.store.upsert(*node(20, priority=7))
    watched.store.upsert(*node(21, priority=2))
    assert watched.priorities()["n1"] == 2


def test_an_answer_that_the_watch_has_overtaken_is_dropped(watched: Watched) -> None:
    """A delayed answer restores neither an older version nor an object deleted meanwhile."""
    watched.store.upsert(*node(21, priority=2))
    watched.store.put(*node(20, priority=7))
    assert watched.priorities()["n1"] == 2
    watched.store.delete(Meta("n1", "u1", 22))
    watched.store.put(*node(21, priority=7))
    assert "n1" not in watched.store.items()


def test_of_two_own_writes_the_newer_stays(watched: Watched) -> None:
    """Answers may arrive in any order."""
    watched.store.put(*node(21, priority=2))
    watched.store.put(*node(20, priority=7))
    assert watched.priorities()["n1"] == 2


def test_a_list_that_was_taken_before_an_own_write_does_not_undo_it(watched: Watched) -> None:
    """A relist keeps own writes that are newer than the list, created objects included."""
    watched.store.put(*node(30, priority=7))
    watched.store.put(*node(31, "mine", "u9"))
    watched.store.replace(29, [node(12, priority=1), node(6, "n2", "u2")])
    assert watched.priorities() == {"n1": 7, "n2": 0, "mine": 0}
    watched.store.replace(40, [node(30, priority=7)])
    assert watched.priorities() == {"n1": 7}


def test_an_own_delete_shows_at_once_and_stays(watched: Watched) -> None:
    """Events from before the deletion do not bring the object back; a new one of that name is another object."""
    watched.store.discard("n1", "u1")
    assert "n1" not in watched.store.items()
    watched.store.upsert(*node(18))
    watched.store.replace(19, [node(18), node(6, "n2", "u2")])
    assert "n1" not in watched.store.items()
    watched.store.delete(Meta("n1", "u1", 20))
    watched.store.upsert(*node(21, uid="u3"))
    assert watched.store.items()["n1"].uid == "u3"


def test_a_late_answer_does_not_bring_back_an_object_that_we_have_deleted(watched: Watched) -> None:
    """Another thread's write of it was answered after the deletion."""
    watched.store.discard("n1", "u1")
    watched.store.put(*node(20))
    assert "n1" not in watched.store.items()


def test_deleting_a_predecessor_leaves_the_present_object(watched: Watched) -> None:
    """discard removes an object by uid, and leaves a newer one of its name."""
    watched.store.discard("n1", "u0")
    assert watched.store.uid("n1") == "u1"


def test_an_object_created_anew_survives_the_late_deletion_of_its_predecessor(watched: Watched) -> None:
    """The deletion of a predecessor, watched after the new object was put, leaves that one."""
    watched.store.discard("n1", "u1")
    watched.store.put(*node(22, uid="u3"))
    watched.store.delete(Meta("n1", "u1", 20))
    assert watched.store.uid("n1") == "u3"


def test_only_what_matters_wakes_the_loop(watched: Watched) -> None:
    """A new version with equal used fields, and a relist of equal objects, are stored and not reported."""
    before = watched.changes
    watched.store.upsert(*node(11))
    watched.store.replace(12, [node(11), node(6, "n2", "u2")])
    watched.store.progress(13)
    assert watched.changes == before
    assert watched.store.items()["n1"].version == "11"
    watched.store.replace(14, [node(11)])
    assert watched.changes == before + 1
    assert list(watched.store.items()) == ["n1"]
