"""Agents' statuses as the controller and other agents read them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.types import NodeRoute
from tests.adapters.kube.test_project import anything

STATUS: dict[str, Any] = {
    "ready": True,
    "reason": "Ready",
    "message": "",
    "observedGeneration": 3,
    "mtu": 8951,
    "path": "partial",
    "paths": {"native": 400, "direct": 300, "overlay": 4299},
    "since": "2026-01-01T00:00:00Z",
}
SPEC = {"podCIDRs": ["10.1.0.0/24"], "nodeIPs": ["10.0.0.1"], "instanceID": "i-1", "routeTableID": "rtb-1"}
for_me = project.agent_node_route("mine")


def raw(name: str, version: int = 1, generation: int = 3, spec: Any = SPEC, **status: Any) -> dict[str, Any]:
    """A NodeRoute as the API server sends it."""
    about = {"name": name, "uid": f"u-{name}", "resourceVersion": str(version), "generation": generation}
    return {"metadata": about, "spec": spec, "status": {**STATUS, **status}}


def test_status_and_generation_are_read_whole() -> None:
    """Field by field as the agent wrote them."""
    route = project.node_route(raw("n1"))
    assert (route.generation, route.status) == (3, STATUS)
    assert project.node_route({"spec": SPEC}).status == {}


def test_an_agent_keeps_its_own_status_and_the_specs_of_all() -> None:
    """An agent keeps its own status, and of other NodeRoutes neither status nor generation."""
    mine, other = for_me(raw("mine")), for_me(raw("other"))
    assert mine == project.node_route(raw("mine"))
    assert (other.status, other.generation, other.version) == ({}, 0, "1")
    assert other.spec == project.node_route(raw("other")).spec


def counted(projection: Callable[[Any], NodeRoute]) -> tuple[Callable[[dict[str, Any]], None], list[int]]:
    """A function that stores an object, and a list that grows with each reported change."""
    told: list[int] = []
    store: MemoryStore[NodeRoute] = MemoryStore(lambda: told.append(1))
    return lambda item: store.upsert(project.meta(item), projection(item)), told


def test_counts_alone_do_not_wake_the_controller() -> None:
    """A change of counts alone is stored and does not wake the controller."""
    told: list[int] = []
    store: MemoryStore[NodeRoute] = MemoryStore(lambda: told.append(1), project.decided_upon)
    for item in (raw("n1"), raw("n1", 2, paths={"overlay": 1}, path="overlay")):
        store.upsert(project.meta(item), project.node_route(item))
    assert told == [1]
    assert store.items()["n1"].status["path"] == "overlay"
    item = raw("n1", 3, ready=False)
    store.upsert(project.meta(item), project.node_route(item))
    assert told == [1, 1]


def test_only_the_own_status_and_specs_wake_an_agent() -> None:
    """Statuses of other agents don't wake an agent; its own status and all specs do."""
    take, told = counted(for_me)
    for name in ("mine", "other"):
        take(raw(name))
    told.clear()
    take(raw("other", 2, ready=False, reason="KernelFailed", paths={"native": 1, "direct": 0, "overlay": 0}))
    take(raw("other", 3, generation=4))
    assert told == []
    take(raw("mine", 4, ready=False))
    take(raw("other", 5, spec={**SPEC, "nativeIn": ["rtb-1"]}))
    assert told == [1, 1]


def test_the_controller_decides_upon_the_spec_and_readiness() -> None:
    """Counts, MTU and time of a status don't wake the controller; readiness and its reason do."""
    before = project.decided_upon(project.node_route(raw("n1")))
    same = raw("n1", 2, 4, mtu=1451, path="overlay", since="2026-02-02T00:00:00Z", paths={"overlay": 1})
    assert project.decided_upon(project.node_route(same)) == before
    for change in ({"ready": False}, {"reason": "Conflict"}, {"message": "words"}):
        assert project.decided_upon(project.node_route(raw("n1", **change))) != before
    assert project.decided_upon(project.node_route(raw("n1", spec={**SPEC, "subnetID": "subnet-1"}))) != before


@pytest.mark.parametrize(("projection", "most"), [(project.node_route, 1500), (for_me, 1100)], ids=["all", "agent"])
def test_thousands_take_little_memory(projection: Callable[[Any], NodeRoute], most: int) -> None:
    """NodeRoutes read page by page share equal strings, which bounds the bytes of each."""
    pages = [
        json.dumps([raw(f"ip-10-0-{page}-{one}.internal", since=f"2026-01-01T00:{one:02}:00Z") for one in range(50)])
        for page in range(20)
    ]
    tracemalloc.start()
    kept = [projection(item) for page in pages for item in json.loads(page)]
    size = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert size < most


@given(st.fixed_dictionaries({"metadata": anything, "spec": anything, "status": anything}))
def test_no_status_raises(item: dict[str, Any]) -> None:
    """No JSON value as a status raises."""
    assert project.decided_upon(project.node_route(item)) == project.decided_upon(project.node_route(item))
    assert for_me(item).spec == project.node_route(item).spec
