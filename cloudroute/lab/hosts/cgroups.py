"""A cgroup for each real node of the lab, in which its kubelet keeps its pods: version 1 or 2, whichever is there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cloudroute.errors import CloudrouteError

ROOT = Path("/sys/fs/cgroup")
GONE_SECONDS = 10.0
"""For a cgroup to be empty once its processes are killed."""


def make(name: str) -> None:
    """Make the cgroup `name` right below the root, with all controllers: a kubelet does not make that one itself."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        if (hierarchy / "cgroup.controllers").exists():
            for controller in (hierarchy / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # one that can't be had here, as cpu beside real-time processes
                    (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove the cgroup and all in it, once its last process is gone. Raises CloudrouteError when one stays."""
    deadline = time.monotonic() + GONE_SECONDS
    for hierarchy in _hierarchies():
        while (hierarchy / name).exists():
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                with contextlib.suppress(OSError):  # its processes are still on their way out
                    os.rmdir(folder)
            if time.monotonic() > deadline:
                raise CloudrouteError(f"the cgroup {hierarchy / name} can't be removed: it still has processes")
            time.sleep(0.01)


def find(prefix: str) -> set[str]:
    """The names of cgroups right below the root that begin with `prefix`."""
    return {path.name for hierarchy in _hierarchies() for path in hierarchy.glob(f"{prefix}*") if path.is_dir()}


def holds(name: str, pid: int) -> bool:
    """Whether the process is in a cgroup whose own name, without the path, is `name`."""
    with contextlib.suppress(OSError):
        return any(line.endswith(f"/{name}") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return False


def _hierarchies() -> Iterator[Path]:
    """The roots: one with version 2, else one per controller."""
    if (ROOT / "cgroup.controllers").exists():
        yield ROOT
        return
    for path in ROOT.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield path
