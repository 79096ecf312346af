"""Runs scenarios, each in a fork of one process that has already built what all of them need."""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from moto.moto_api._internal import mock_random

from tests.simulation.cloud import LAYOUTS, Cloud
from tests.simulation.fault_plan import FaultPlan, plan_of
from tests.simulation.scenario import Result, run

CORES = sorted(os.sched_getaffinity(0))[:2]
"""One scenario runs on each core and is pinned to it: moving a thread between cores costs more than a step."""
CPU_SECONDS, REAL_SECONDS = 30, 600
"""Limits after which a scenario counts as hanging: a fifth of a second of CPU is usual."""
REHEARSED = 2
"""Scenarios that are run before the first fork: more give nothing, and each makes the forks larger."""
_HANGS = (signal.SIGALRM, signal.SIGPROF)


class Runner:
    """Forks a process for each scenario. `prepare` is called in each fork before its scenario, to put a bug in."""

    def __init__(self) -> None:
        gc.disable()  # here and in each fork: a scenario is short
        mock_random.seed(0)
        self.prepare: Callable[[], object] = lambda: None
        self._clouds = {name: Cloud(name) for name in LAYOUTS}
        _rehearse()
        gc.collect()
        gc.freeze()  # otherwise each fork would copy the whole heap at its first collection

    def run(self, plan: FaultPlan, *, trace: bool = False) -> Result:
        """Run one scenario."""
        return next(self.run_all([plan], trace=trace))[1]

    def run_all(self, plans: Iterable[FaultPlan], *, trace: bool = False) -> Iterator[tuple[FaultPlan, Result]]:
        """Run scenarios, one per core at a time; yields them in the order in which they end."""
        waiting, idle = iter(plans), list(CORES)
        running: dict[int, tuple[int, int, FaultPlan]] = {}
        try:
            while True:
                while idle and (plan := next(waiting, None)):
                    core = idle.pop()
                    pipe, child = self._fork(plan, core, trace=trace)
                    running[pipe] = (child, core, plan)
                if not running:
                    return
                for pipe in select.select(list(running), [], [])[0]:
                    child, core, plan = running.pop(pipe)
                    result = _collect(pipe, child)
                    idle.append(core)
                    yield plan, result
        finally:
            for pipe, (child, *_) in running.items():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(pipe)

    def _fork(self, plan: FaultPlan, core: int, *, trace: bool) -> tuple[int, int]:
        here, there = os.pipe()
        child = os.fork()
        if child:
            os.close(there)
            return here, child
        status = 1
        try:
            os.close(here)
            os.sched_setaffinity(0, {core})
            # A thread that passes the baton on goes on to wait: it would only be woken up twice.
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            signal.alarm(REAL_SECONDS)
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            self.prepare()
            with os.fdopen(there, "wb") as pipe:
                pickle.dump(run(plan, self._clouds, trace=trace), pipe)
            status = 0
        except BaseException:  # noqa: BLE001 - the fork ends here, and must print why
            traceback.print_exc()
        finally:
            os._exit(status)


def _rehearse() -> None:
    """Run some scenarios here, since forks inherit caches and specialized bytecode.

    The threads of these scenarios stay here, and wait for ever.
    """
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    for plan in map(plan_of, range(REHEARSED)):
        run(plan, {plan.setup.layout: Cloud(plan.setup.layout)})
    signal.setitimer(signal.ITIMER_PROF, 0)


def _collect(pipe: int, child: int) -> Result:
    with os.fdopen(pipe, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if not data:
        why = "hangs" if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _HANGS else f"died ({status})"
        return Result(f"the scenario {why}", "", 0, [])
    result: Result = pickle.loads(data)
    return result
