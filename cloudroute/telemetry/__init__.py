"""What a running cloudroute tells about itself: metrics, health, pages, and logs that say only what changed.

The idea: the loops push small facts in, under one lock and without I/O, and a few URLs show the present ones.
The metrics of the world are drawn from one immutable snapshot, so a scrape never sees half a cycle and a
route table that is gone takes its series along.

health ── health of a process, and what its URLs answer     server ── HTTP, for clients that may be slow
metrics ─ the controller's                                  logs ──── lines for people and programs
"""

from cloudroute.telemetry.health import Health
from cloudroute.telemetry.logs import REMEMBERED, ChangeLog, setup_logging
from cloudroute.telemetry.metrics import Telemetry
from cloudroute.telemetry.server import MAX_CONNECTIONS, REQUEST_SECONDS, Answer

__all__ = [
    "MAX_CONNECTIONS",
    "REMEMBERED",
    "REQUEST_SECONDS",
    "Answer",
    "ChangeLog",
    "Health",
    "Telemetry",
    "setup_logging",
]
