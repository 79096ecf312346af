"""The end of a lab that stayed up, in any state. Imports nothing that loads slowly."""

from __future__ import annotations

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts import channel
from cloudroute.lab.hosts.netns import leftovers
from cloudroute.lab.hosts.teardown import prefix_of, tear_down

END_SECONDS = 60.0


def end(name: str) -> list[str]:
    """End a lab, or remove the remains of a crashed one; returns the steps done, as lines."""
    try:
        channel.ask(name, {"do": "down"}, END_SECONDS)
    except channel.NotUp:
        pass
    except CloudrouteError:
        channel.kill(name)  # the daemon hangs
    else:
        channel.log_path(name).unlink(missing_ok=True)
        return [f"The lab {name} is down."]
    removed = tear_down(name)
    for path in (channel.socket_path(name), channel.log_path(name)):
        path.unlink(missing_ok=True)
    if not removed:
        return [f"There is no lab {name}, and nothing is left of one."]
    return [f"The lab {name} was not up; removed what was left of one:", *removed]


def demand_nothing_left(name: str) -> None:
    """Raise CloudrouteError when a crashed lab of this name has left remains."""
    if left := leftovers(prefix_of(name)):
        raise CloudrouteError(
            f"a lab {name} has crashed and left {len(left)} namespaces: remove them with cloudroute lab down --name "
            f"{name}"
        )
