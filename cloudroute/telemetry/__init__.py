"""Telemetry of a running process: metrics, health, pages, and logs of changes only.

The loops push small facts in, under one lock and without I/O, and a few URLs show the present ones.

health ── health of a process, and the answers of its URLs  server ── HTTP, for clients that may be slow
metrics ─ metrics of the controller and of an agent         logs ──── lines for people and programs
"""

from cloudroute.telemetry.health import Health
from cloudroute.telemetry.logs import REMEMBERED, ChangeLog, setup_logging
from cloudroute.telemetry.metrics import AgentTelemetry, ControllerTelemetry
from cloudroute.telemetry.server import MAX_CONNECTIONS, REQUEST_SECONDS, Answer

__all__ = [
    "MAX_CONNECTIONS",
    "REMEMBERED",
    "REQUEST_SECONDS",
    "AgentTelemetry",
    "Answer",
    "ChangeLog",
    "ControllerTelemetry",
    "Health",
    "setup_logging",
]
