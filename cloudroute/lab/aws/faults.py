"""A schedule of faults.

    faults = Faults()
    faults.fail("CreateRoute", "RequestLimitExceeded", times=3)
    faults.drop("CreateRoute")                     # the route is made, the answer is lost
    faults.hang("DescribeRouteTables", times=1)    # no answer until the client gives up; nothing is done
    faults.delay("*", 0.2)                         # every answer takes 0.2 s longer
    faults.stale(30)                               # every describe shows the world of 30 s ago
    faults.clear()

A fault applies to calls of its action ("*" is any) whose flat parameters `match`, skips the first `after` of them, and
then happens `times` times (None: until cleared). Of fail, drop and hang, the first that applies happens; delay and
stale are added to it. The schedule may be changed at any time from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from cloudroute.lab.aws.wire import Request

Match = Callable[[Mapping[str, str]], bool]
What = Literal["fail", "drop", "hang", "delay", "stale"]


@dataclass(slots=True)
class Fault:
    """One entry of the schedule. `seconds` is for delay and stale, `code` and `message` for fail."""

    what: What
    action: str
    times: int | None
    after: int = 0
    match: Match | None = None
    code: str = ""
    message: str = ""
    status: int | None = None
    seconds: float = 0.0
    happened: int = 0

    def applies(self, request: Request) -> bool:
        """Whether the fault applies to this call; counts the call."""
        if self.action not in ("*", request.action) or (self.match and not self.match(request.params)):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.happened >= self.times:
            return False
        self.happened += 1
        return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome that the faults choose for one call."""

    terminal: Fault | None = None
    delay: float = 0.0
    stale: float = 0.0


class Faults:
    """A schedule of faults, in the order they were added."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def fail(
        self,
        action: str,
        code: str,
        message: str = "",
        *,
        times: int | None = 1,
        after: int = 0,
        match: Match | None = None,
        status: int | None = None,
    ) -> Fault:
        """Answer with an error and do nothing. The HTTP status follows from the code unless given."""
        text = message or f"{code}, injected by the lab"
        return self._add(Fault("fail", action, times, after, match, code, text, status))

    def throttle(self, action: str = "*", *, times: int | None = 1, after: int = 0) -> Fault:
        """Answer RequestLimitExceeded with HTTP 503."""
        return self.fail(action, "RequestLimitExceeded", "Request limit exceeded.", times=times, after=after)

    def drop(self, action: str, *, times: int | None = 1, after: int = 0, match: Match | None = None) -> Fault:
        """Execute the call, then cut the connection before the answer."""
        return self._add(Fault("drop", action, times, after, match))

    def hang(self, action: str, *, times: int | None = 1, after: int = 0, match: Match | None = None) -> Fault:
        """Do nothing and send nothing until the client's read timeout."""
        return self._add(Fault("hang", action, times, after, match))

    def delay(self, action: str, seconds: float, *, times: int | None = None, match: Match | None = None) -> Fault:
        """Execute the call at once; the answer takes `seconds` longer."""
        return self._add(Fault("delay", action, times, match=match, seconds=seconds))

    def stale(self, seconds: float, action: str = "*", *, times: int | None = None) -> Fault:
        """Show the state of `seconds` ago in describes of route tables, instances, ENIs and subnets."""
        return self._add(Fault("stale", action, times, seconds=seconds))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def judge(self, request: Request) -> Verdict:
        """Return the outcome of this call, and count it for each fault that applies."""
        terminal: Fault | None = None
        seconds = {"delay": 0.0, "stale": 0.0}
        with self._lock:
            for fault in self._faults:
                if fault.what in ("delay", "stale"):
                    seconds[fault.what] += fault.seconds if fault.applies(request) else 0.0
                elif terminal is None and fault.applies(request):
                    terminal = fault
        return Verdict(terminal, seconds["delay"], seconds["stale"])

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault
