"""The README's screenshot of the status page: 120 nodes, three tables of 50 entries, a headless browser.

python -m tests.page.picture docs/status-page.png
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.clock import START
from tests.controller.lab import Lab
from tests.page.chrome import chrome
from tests.page.png import smaller
from tests.page.stage import Election, agents_say, shown

NODES = 120
PLAYED_SECONDS = 158
"""Duration of the scenario on the cluster's clock, which is set so that it ends now."""
SIZE = (1280, 900)


def play(world: Lab) -> None:
    """As in `cloudroute demo`: tables overflow, a foreign route takes an entry, nodes die; one agent is not ready."""
    start = time.time() - world.clock.time - PLAYED_SECONDS
    world.clock.now = lambda: start + world.clock.time  # type: ignore[method-assign]
    names = world.join_many(NODES - 10)
    world.run()
    agents_say(world, *names)
    world.run()
    world.foreign(world.tables()[0], "100.64.200.0/24", GatewayId=world.gateway())
    world.pass_seconds(75)
    for name in names[10:16]:
        world.terminate(name)
    world.run()
    world.pass_seconds(47)
    late = world.join_many(10)
    world.turn()
    world.turn()
    agents_say(world, *late[1:])
    agents_say(world, late[0], ready=False, reason="KernelFailed", message="no nftables: install it")
    world.run()


def take(path: Path, scheme: str = "light") -> None:
    """Take the screenshot; the page must be live and without errors."""
    with shown(election=Election(), route_limit=50, route_reserve=1) as (world, url), chrome() as tab:
        play(world)
        assert abs(world.clock.time - START - PLAYED_SECONDS) < 10, "the story has another length by now"
        tab.size(*SIZE)
        tab.media(prefers_color_scheme=scheme)
        tab.go(url)
        tab.until(lambda: "live" in tab.text("#live"), "the page to be live")
        path.write_bytes(smaller(tab.picture()))
        assert not tab.complaints, tab.complaints


if __name__ == "__main__":
    take(Path(sys.argv[1]), *sys.argv[2:])
