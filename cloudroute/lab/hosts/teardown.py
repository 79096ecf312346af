"""Find and remove all parts of a lab by its name alone, after its process has died."""

from __future__ import annotations

import shutil
from pathlib import Path

from cloudroute.lab.hosts import processes
from cloudroute.lab.hosts.channel import RUN
from cloudroute.lab.hosts.kubelet import sweep
from cloudroute.lab.hosts.netns import execute, kill_inside, leftovers

_KUBE = "kube"
"""A file with the data folder of the API server."""


def folder_of(name: str) -> Path:
    """Return the folder with a lab's files."""
    return RUN / name


def prefix_of(name: str) -> str:
    """Return the prefix of its namespaces' names. It is unique: a lab's name has no hyphen."""
    return f"cr-{name}-"


def remember_kube(folder: Path, data: Path) -> None:
    """Record the data folder of the API server, before it starts; its command-line arguments contain it."""
    (folder / _KUBE).write_text(str(data), encoding="utf-8")


def tear_down(name: str) -> list[str]:
    """Remove the remains of a lab whose process has ended; returns a word or two for each."""
    folder = folder_of(name)
    kept = folder / _KUBE
    data = [Path(kept.read_text(encoding="utf-8"))] if kept.exists() else []
    killed = processes.kill_remembered(folder) + [words for path in data for words in processes.kill_using(path)]
    removed = [f"process {words}" for words in killed]
    removed += [f"kubelet of {one}" for one in sweep(prefix_of(name))]
    removed += remove_namespaces(prefix_of(name))
    removed += [f"mount {point}" for point in _unmount(folder)]
    for one in (*data, folder):
        if one.exists():
            shutil.rmtree(one)
            removed.append(f"folder {one}")
    return removed


def remove_namespaces(prefix: str) -> list[str]:
    """Kill the processes in the namespaces, and remove these."""
    found = leftovers(prefix)
    kill_inside(found)
    for namespace in found:
        namespace.delete()
    return [f"namespace {namespace.name}" for namespace in found]


def _unmount(folder: Path) -> list[str]:
    """Unmount everything below: removing the folder must not delete files of other file systems."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4] for line in lines]
    inside = [point for point in points if point.startswith(f"{folder}/")]
    for point in reversed(inside):
        execute("umount", "--lazy", point)
    return inside
