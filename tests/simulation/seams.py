"""Patches cloudroute to run on virtual time: its waits, its random numbers and its clocks.

This is done once, in the process that runs one scenario and ends with it.
"""

from __future__ import annotations

import queue
import random
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import structlog
from moto.moto_api._internal import mock_random

import cloudroute.adapters.ec2.client as ec2_client
import cloudroute.adapters.kube.agents as kube_agents
import cloudroute.adapters.kube.events as kube_events
import cloudroute.adapters.kube.reflector as reflector
import cloudroute.adapters.kube.stores as stores
import cloudroute.adapters.kube.transport as transport
import cloudroute.agent.gateway as gateway
import cloudroute.agent.loop as agent_loop
import cloudroute.agent.process as agent_process
import cloudroute.agent.report as report
import cloudroute.controller.apply as apply
import cloudroute.controller.backoff as backoff
import cloudroute.controller.lease as lease
import cloudroute.controller.loop as loop
import cloudroute.controller.process as process
import cloudroute.lab.aws.wire as wire
import cloudroute.lab.kube.objects as objects
from cloudroute.adapters.kube.access import Access
from tests.simulation import threads
from tests.simulation.api import Pool
from tests.simulation.scheduler import Scheduler, VirtualClock

WAITING = (kube_events, reflector, stores, agent_loop, agent_process, gateway, report, apply, lease, loop, process)
CHANCES = (reflector, agent_loop, report, backoff, lease)
CONTROLLER_GLANCE, AGENT_GLANCE, STANDBY = 1.0, 60.0, 3.0
"""Seconds between two checks of a process' threads, and between two reads of the Lease by a standby.

The real 0.1 s, 2 s and 0.75 s would be half of all events."""


def put(where: Any, name: str, value: Any) -> None:
    """Replace an attribute that exists: a function, a module, a constant."""
    assert hasattr(where, name), f"there is no {name} any more: nothing would change"
    setattr(where, name, value)


def install(scheduler: Scheduler, pools: Mapping[str, Pool], seed: int, *, trace: bool) -> None:
    """Patch everything. `pools` has the connections to the API by name of the process; `trace` keeps log lines."""
    threads.VirtualTime.scheduler = scheduler
    clock = VirtualClock(scheduler)
    for module in WAITING:
        put(module, "threading", threads)
    queues = SimpleNamespace(Empty=queue.Empty, Queue=threads.Queue, SimpleQueue=threads.SimpleQueue)
    for module in (apply, kube_events):
        put(module, "queue", queues)
    for module in (apply, ec2_client):
        put(module, "ThreadPoolExecutor", threads.ThreadPoolExecutor)
    put(reflector, "time", clock)
    put(kube_agents, "time", SimpleNamespace(time=clock.now))
    put(process, "GLANCE_SECONDS", CONTROLLER_GLANCE)
    put(lease, "STANDBY_SECONDS", STANDBY)
    put(agent_process, "GLANCE_SECONDS", AGENT_GLANCE)
    put(transport, "find_access", lambda name: Access("sim://api", cast("Any", pools[name]), dict))
    for module in CHANCES:
        module._chance.seed(seed)
    random.seed(seed)
    mock_random.seed(seed)
    chance = random.Random(seed)
    put(objects, "uuid", SimpleNamespace(uuid4=lambda: uuid.UUID(int=chance.getrandbits(128), version=4)))
    put(wire, "uuid", SimpleNamespace(uuid4=lambda: uuid.UUID(int=0)))
    put(objects, "timestamp", lambda: datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    _log(scheduler, trace=trace)


def _log(scheduler: Scheduler, *, trace: bool) -> None:
    """Send the log lines of the processes to the trace, where that is kept; drop all but critical ones otherwise."""

    def send(_logger: Any, _name: str, event: Any) -> str:
        who = scheduler.current.group.name if scheduler.current else "world"
        words = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "seconds"))
        scheduler.log(f"{who}: {event['event']} {words}")
        raise structlog.DropEvent

    level = 20 if trace else 50
    structlog.configure(processors=[send], wrapper_class=structlog.make_filtering_bound_logger(level))
