"""The stores follow the API server through all of its failures."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kube import project, reflector
from cloudroute.adapters.kube.cluster import NODES, KubeCluster
from cloudroute.adapters.kube.reflector import Reflector
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.clock import SystemClock
from cloudroute.lab.kube import KubeApi
from cloudroute.types import Node
from tests.adapters.kube.conftest import Script, node
from tests.waiting import eventually

Start = Callable[..., KubeCluster]


def names(cluster: KubeCluster) -> list[str]:
    return sorted(cluster.nodes.items())


def cut(api: KubeApi) -> None:
    """Make sure that a watch of nodes meets the fault that was just set: end the open one, unless it came too late."""
    eventually(lambda: api.faults.cut("nodes") or api.calls["watch", "nodes"] > 1, "the watch is cut")


def test_a_list_in_pages_is_whole(api: KubeApi, start: Start) -> None:
    """Every object of every page is in the store, page size one included."""
    for number in range(7):
        api.create(node(f"n{number}", number))
    cluster = start(list_limit=2)
    assert names(cluster) == [f"n{number}" for number in range(7)]
    assert api.calls["list", "nodes"] == 4


def test_changes_arrive_by_watch_alone(api: KubeApi, start: Start) -> None:
    """Created, changed and deleted objects show, and nothing is listed again."""
    cluster = start()
    api.create(node("n1", 1))
    api.create(node("n2", 2))
    eventually(lambda: names(cluster) == ["n1", "n2"], "both nodes are known")
    api.patch("nodes", "n1", {"metadata": {"annotations": {project.PRIORITY: "4"}}})
    eventually(lambda: cluster.nodes.items()["n1"].priority == 4, "the priority is known")
    api.delete("nodes", "n2")
    eventually(lambda: names(cluster) == ["n1"], "the deleted node is forgotten")
    assert api.calls["list", "nodes"] == 1


def test_changes_are_told_and_heartbeats_are_not(api: KubeApi, start: Start) -> None:
    """A change of a used field wakes the loop; a kubelet's heartbeat does not."""
    api.create(node("n1"))
    told: list[float] = []
    cluster = start(lambda: told.append(time.monotonic()))
    before = len(told)
    api.patch_status("nodes", "n1", {"nodeInfo": {"kernelVersion": "6.1"}})
    version = api.get("nodes", "n1")["metadata"]["resourceVersion"]
    eventually(lambda: cluster.nodes.items()["n1"].version == version, "the new version is known")
    assert len(told) == before
    api.patch("nodes", "n1", {"metadata": {"annotations": {project.PRIORITY: "4"}}})
    eventually(lambda: len(told) > before, "the loop is told")


def test_a_forgotten_version_is_listed_anew(api: KubeApi, start: Start) -> None:
    """After 410 the store is listed again, and deletions in between are applied."""
    api.create(node("n1"))
    cluster = start()
    api.faults.fail(410, "watch", "nodes")
    cut(api)
    api.delete("nodes", "n1")
    api.create(node("n2", 2))
    eventually(lambda: names(cluster) == ["n2"], "the nodes are those after the break")
    eventually(lambda: api.calls["list", "nodes"] == 2, "the nodes are listed again")


def test_a_cut_watch_goes_on_where_it_was(api: KubeApi, start: Start) -> None:
    """A broken connection costs one watch and no list."""
    cluster = start()
    eventually(lambda: api.faults.cut("nodes"), "the watch is cut")
    api.create(node("n1"))
    eventually(lambda: names(cluster) == ["n1"], "the deleted node is forgotten")
    assert api.calls["list", "nodes"] == 1


def test_a_silently_dead_watch_is_noticed(api: KubeApi, start: Start) -> None:
    """A watch without any event is replaced after the silence timeout."""
    cluster = start(silence=0.3)
    eventually(lambda: api.faults.silence("nodes"), "the watch is silent")
    api.create(node("n1"))
    eventually(lambda: names(cluster) == ["n1"], "the deleted node is forgotten")
    assert api.calls["list", "nodes"] == 1


def test_a_server_that_was_away_is_found_again(api: KubeApi, start: Start) -> None:
    """While the server is down `trouble` names it; when it is back the store catches up."""
    cluster = start()
    api.faults.down(0.5)
    eventually(lambda: "no answer from" in cluster.trouble, "the silence is reported")
    api.create(node("n1"))
    eventually(lambda: names(cluster) == ["n1"], "the deleted node is forgotten")
    eventually(lambda: not cluster.trouble, "the trouble is over")


def test_a_server_that_was_away_and_has_forgotten_the_version_is_listed_at_once(
    api: KubeApi, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer after an outage resets the back-off, even a 410."""
    drawn: list[int] = []

    def delays() -> Iterator[float]:
        for number in itertools.count():
            drawn.append(number)
            yield 0.01

    monkeypatch.setattr(reflector, "_delays", delays)
    api.create(node("n1"))
    cluster = start()
    drawn.clear()
    api.faults.fail(503, "watch", "nodes", 5)
    api.faults.fail(410, "watch", "nodes")
    cut(api)
    api.delete("nodes", "n1")
    eventually(lambda: not names(cluster), "no node is left")
    assert (drawn[-1], max(drawn) >= 4) == (0, True), drawn


def test_a_good_watch_ends_the_back_off(api: KubeApi, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each outage begins with the shortest delay, however many there have been."""
    drawn: list[int] = []

    def delays() -> Iterator[float]:
        for number in itertools.count():
            drawn.append(number)
            yield 0.01

    monkeypatch.setattr(reflector, "_delays", delays)
    cluster = start()
    for number in range(3):
        api.create(node(f"n{number}", number))
        eventually(lambda: len(names(cluster)) == number + 1, f"node {number}")  # noqa: B023 - called at once
        drawn.clear()
        api.faults.fail(503, "watch", "nodes", 2)
        assert api.faults.cut("nodes")
        eventually(lambda: len(drawn) == 2, "two pauses")
        assert drawn == [0, 1]


@pytest.mark.parametrize("code", [403, 404, 429, 500])
def test_a_server_that_keeps_refusing_is_not_hammered(api: KubeApi, start: Start, code: int) -> None:
    """Back-off doubles for any refusal; the store keeps its objects and recovers afterwards."""
    api.create(node("n1"))
    cluster = start()
    started = time.monotonic()
    api.faults.fail(code, "watch", "nodes", math.inf)
    cut(api)
    eventually(lambda: api.calls["watch", "nodes"] >= 4, "the watch is opened again")
    assert time.monotonic() - started > 0.1 + 0.2 + 0.4, "three delays between four watches, at their shortest"
    assert str(code) in cluster.trouble
    assert names(cluster) == ["n1"]
    api.faults.clear()
    api.create(node("n2", 2))
    eventually(lambda: names(cluster) == ["n1", "n2"], "both nodes are known")


def test_a_kind_that_appears_later_is_picked_up(kubeconfig: str, api: KubeApi) -> None:
    """A CRD that is not served yet (404, then 429) is waited for, briefly at first."""
    api.faults.fail(404, "list", "noderoutes")
    api.faults.fail(429, "list", "noderoutes", 2)
    cluster = KubeCluster(kubeconfig, SystemClock())
    cluster.start(lambda: None)
    assert cluster.node_routes.wait_synced(5)
    cluster.stop()


def test_every_turn_beats(api: KubeApi, start: Start) -> None:
    """Each reflector beats under its thread's name, at every event."""
    beats: list[tuple[str, float]] = []
    start(beat=lambda thread, within: beats.append((thread, within)))
    assert {thread for thread, _ in beats} == {"reflector-nodes", "reflector-noderoutes", "reflector-routetables"}
    before = len(beats)
    api.create(node("n1"))
    eventually(lambda: len(beats) > before, "a beat comes")
    assert all(within > 75 for _, within in beats), "a silent watch is no dead thread yet"


def test_stopping_takes_no_time_while_watches_block(start: Start) -> None:
    """stop() wakes the blocked reads, and the threads are gone."""
    cluster = start()
    started = time.monotonic()
    cluster.stop()
    assert time.monotonic() - started < 1
    assert not any(thread.is_alive() for thread in cluster.threads)


def test_stopping_does_not_wait_for_a_server_that_hangs(api: KubeApi, kubeconfig: str) -> None:
    """stop() does not wait for a list without an answer."""
    api.faults.hang("list", count=math.inf)
    cluster = KubeCluster(kubeconfig, SystemClock())
    cluster.start(lambda: None)
    eventually(lambda: api.calls["list", "nodes"], "the nodes are listed")
    started = time.monotonic()
    cluster.stop()
    assert time.monotonic() - started < 1
    assert not cluster.nodes.wait_synced(0)


def test_a_cluster_that_was_never_started_can_be_stopped(kubeconfig: str) -> None:
    """A cluster that was never started can be stopped: a command may fail early."""
    cluster = KubeCluster(kubeconfig, SystemClock())
    cluster.stop()
    assert cluster.trouble == ""


def test_malformed_items_of_a_page_are_left_out(script: Script, tmp_path: Path) -> None:
    """Items of a page that are no objects are left out, and nested lists are not taken for one."""
    good: dict[str, Any] = node("n1")
    good["metadata"] |= {"uid": "u1", "resourceVersion": "5"}
    nested = {"metadata": {"name": "n2", "uid": "u2", "resourceVersion": "6"}, "spec": good}
    items = [None, 3, "text", {}, {"metadata": 7}, good, nested]
    script.then(200, {"metadata": {"resourceVersion": "9"}, "items": items}).then(403, {"message": "no"})
    changed = threading.Event()
    store: MemoryStore[Node] = MemoryStore(changed.set)
    reflector = Reflector(script.transport(tmp_path), NODES, project.node, store, lambda _t, _w: None, 100)
    reflector.start()
    assert changed.wait(5)
    assert sorted(store.items()) == ["n1", "n2"]
    assert store.items()["n2"].instance_id == ""
    reflector.stop()
    reflector.thread.join(5)
    assert not reflector.thread.is_alive()
