"""A cluster whose leader serves its page: the Lab's real loop, EC2 and API, behind the real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloudroute.controller import NoLease
from cloudroute.controller.status_page import StatusPage
from cloudroute.telemetry import ControllerTelemetry
from tests.controller.lab import Lab, lab


class Election:
    """The leader election, with a result that the test sets."""

    held = True
    identity = "ip-10-0-0-7_1f0c9a2e"
    holder = identity


@contextmanager
def served(status: StatusPage) -> Iterator[str]:
    """The page of `status` over HTTP; its URL without the last slash."""
    telemetry = ControllerTelemetry()
    telemetry.pages |= status.pages()
    port = telemetry.serve("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        telemetry.close()


@contextmanager
def shown(*args: Any, nodes: int = 0, election: Election | None = None, **settings: Any) -> Iterator[tuple[Lab, str]]:
    """A Lab with `nodes` settled nodes, and the URL of its page."""
    with lab(*args, **settings) as world:
        # Compose the status for each request: the Lab's clock stands still.
        status = StatusPage("prod", election or NoLease(), lambda: float("inf"))
        world.start(page=status)
        if nodes:
            world.join_many(nodes)
            world.run()
        with served(status) as url:
            yield world, url


def agents_say(world: Lab, *names: str, **words: Any) -> None:
    """Agents report their state, as the real ones do."""
    for name in names:
        generation = world.kube.get("noderoutes", name)["metadata"].get("generation", 1)
        status = {"ready": True, "observedGeneration": generation, "mtu": 8951, **words}
        world.kube.patch_status("noderoutes", name, status)
