"""A cgroup for each real node of the lab, parent of its kubelet's pods: version 1 or 2, whichever the machine has."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cloudroute.errors import CloudrouteError

ROOT = Path("/sys/fs/cgroup")
GONE_SECONDS = 10.0
"""Time limit for a cgroup to become empty after its processes were killed."""


def make(name: str) -> None:
    """Create the cgroup `name` right below the root, with all controllers: a kubelet does not create its root."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        if (hierarchy / "cgroup.controllers").exists():
            for controller in (hierarchy / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # a controller unavailable here, as cpu beside real-time processes
                    (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> None:
    """Remove the cgroup and its children, once its last process has ended. Raises CloudrouteError when one remains."""
    deadline = time.monotonic() + GONE_SECONDS
    for hierarchy in _hierarchies():
        while (hierarchy / name).exists():
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                with contextlib.suppress(OSError):  # its processes are still exiting
                    os.rmdir(folder)
            if time.monotonic() > deadline:
                raise CloudrouteError(f"the cgroup {hierarchy / name} can't be removed: it still has processes")
            time.sleep(0.01)


def find(prefix: str) -> set[str]:
    """Return the names of cgroups right below the root that begin with `prefix`."""
    return {path.name for hierarchy in _hierarchies() for path in hierarchy.glob(f"{prefix}*") if path.is_dir()}


def holds(name: str, pid: int) -> bool:
    """Whether the process is in a cgroup whose last path element is `name`."""
    with contextlib.suppress(OSError):
        return any(line.endswith(f"/{name}") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return False


def _hierarchies() -> Iterator[Path]:
    """Return the cgroup roots: one for version 2, one per controller for version 1."""
    if (ROOT / "cgroup.controllers").exists():
        yield ROOT
        return
    for path in ROOT.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield path
