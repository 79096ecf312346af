"""Many stories, each in a fork of a process that has made ready what all of them need."""

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
from tests.simulation.story import Result, tell
from tests.simulation.weather import Plan

CORES = sorted(os.sched_getaffinity(0))[:2]
"""One story runs on each, and stays there: its threads take turns, and to change the core costs more than a turn."""
LONGEST, LONGEST_WAIT = 30, 600
"""Seconds of CPU and of real time after which a story counts as one that hangs: a fifth of a second is usual."""
_HANGS = (signal.SIGALRM, signal.SIGPROF)


class Stage:
    """`prepare` is called in each fork before its story: it may put a bug in."""

    def __init__(self) -> None:
        mock_random.seed(0)
        self.prepare: Callable[[], object] = lambda: None
        self._clouds = {name: Cloud(name) for name in LAYOUTS}
        for cloud in self._clouds.values():
            cloud.rehearse()
        gc.collect()
        gc.freeze()  # else each fork would copy all of it, the first time that it collects

    def tell(self, plan: Plan, tells: bool = False) -> Result:
        """One story."""
        return next(self.tell_all([plan], tells))[1]

    def tell_all(self, plans: Iterable[Plan], tells: bool = False) -> Iterator[tuple[Plan, Result]]:
        """All of them, in the order in which they end."""
        waiting, idle = iter(plans), list(CORES)
        running: dict[int, tuple[int, int, Plan]] = {}
        try:
            while True:
                while idle and (plan := next(waiting, None)):
                    core = idle.pop()
                    pipe, child = self._fork(plan, core, tells)
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

    def _fork(self, plan: Plan, core: int, tells: bool) -> tuple[int, int]:
        here, there = os.pipe()
        child = os.fork()
        if child:
            os.close(there)
            return here, child
        status = 1
        try:
            os.close(here)
            os.sched_setaffinity(0, {core})
            gc.disable()  # a story is short
            signal.alarm(LONGEST_WAIT)
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            self.prepare()
            with os.fdopen(there, "wb") as pipe:
                pickle.dump(tell(plan, self._clouds, tells), pipe)
            status = 0
        except BaseException:  # noqa: BLE001 - this process ends here, and must say why
            traceback.print_exc()
        finally:
            os._exit(status)


def _collect(pipe: int, child: int) -> Result:
    with os.fdopen(pipe, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if not data:
        why = "hangs" if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _HANGS else f"died ({status})"
        return Result(f"the story {why}", "", 0, [])
    result: Result = pickle.loads(data)
    return result
