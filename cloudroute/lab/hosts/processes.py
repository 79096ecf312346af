"""A lab's processes in the machine's own namespace, identified so that they are found after a crash.

A record of a controller holds its start time beside its process id: process ids are reused, but not with the same start
time.
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
    """Record a process in the lab's folder."""
    (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / _FOLDER / str(pid)).write_text(_started(pid), encoding="ascii")


def kill_remembered(folder: Path) -> list[str]:
    """Kill the recorded processes that still run; returns their command lines, shortened."""
    killed = []
    for entry in (folder / _FOLDER).glob("*"):
        pid = int(entry.name)
        if (started := _started(pid)) and started == entry.read_text(encoding="ascii") and pid != os.getpid():
            killed += _kill(pid)
    return killed


def kill_using(path: Path) -> list[str]:
    """Kill the programs of Kubernetes and etcd with an argument below `path`, which belongs to one lab alone.

    Returns their command lines, shortened.
    """
    killed = []
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]:
        words = _command(pid)
        if f"{path}/" in words and words.split(" ")[0].rpartition("/")[2].startswith(("etcd", "kube-")):
            killed += _kill(pid)
    return killed


def _kill(pid: int) -> list[str]:
    """Kill a process and wait until it has ended; returns its shortened command line, or nothing."""
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
    """Return the start time of a process, in the kernel's clock ticks; "" when it has ended."""
    try:
        # The fields after the name, which may hold any character, begin with the state.
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if stat[0] == "Z" else stat[19]
