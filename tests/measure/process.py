"""CPU, memory, descriptors and threads of a process, as Linux counts them."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Fields of /proc/PID/stat behind the command's closing bracket (proc_pid_stat(5): 14 and 15, counted from 1)."""


def cpu_seconds(pid: int) -> float:
    """User and system time so far, to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def memory_mb(pid: int, field: str) -> float:
    """`VmRSS`, memory in use now, or `VmHWM`, the most so far, in MB of 1,000,000 bytes.

    Raises ValueError for a zombie.
    """
    return int(_status(pid, field).split()[0]) * 1024 / 1e6


def threads(pid: int) -> int:
    """Number of threads."""
    return int(_status(pid, "Threads"))


def descriptors(pid: int) -> int:
    """Number of open file descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status(pid: int, field: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value
    raise ValueError(f"/proc/{pid}/status has no {field}")
