"""Which processes of the machine's own namespace belong to a lab, so that they are found after a crash.

The controllers are written down: a process id is used again sooner or later, but not with the same start time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_FOLDER = "processes"
_END_SECONDS = 5.0


def remember(folder: Path, pid: int) -> None:
    """Write one down in the lab's folder."""
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / _FOLDER / str(pid)).write_text(_started(pid), encoding="ascii")


def kill_remembered(folder: Path) -> list[str]:
    """Kill those that still run; their command lines, shortened."""
    killed = []
    for entry in (folder / _FOLDER).glob("*"):
        pid = int(entry.name)
        if (started := _started(pid)) and started == entry.read_text(encoding="ascii") and pid != os.getpid():
            killed += _kill(pid)
    return killed


def kill_using(path: Path) -> list[str]:
    """Kill the programs of Kubernetes and etcd that have a path below `path`, which is one lab's alone, in an argument.

    Their command lines, shortened.
    """
    killed = []
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]:
        words = _command(pid)
        if f"{path}/" in words and words.split(" ")[0].rpartition("/")[2].startswith(("etcd", "kube-")):
            killed += _kill(pid)
    return killed


def _kill(pid: int) -> list[str]:
    """Kill it and wait until it writes no more."""
    words, deadline = _command(pid), time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        while _started(pid) and time.monotonic() < deadline:
            time.sleep(0.005)
        return [f"{pid} ({words[:60]})"]
    return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; "" when it has ended."""
    try:
        # What follows the name, which may hold anything, begins with the state.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if stat[0] == "Z" else stat[19]
