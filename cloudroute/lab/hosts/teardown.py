"""What is there of a lab by its name alone: so that all of it can be removed when its process has died."""

from __future__ import annotations

import shutil
from pathlib import Path

from cloudroute.lab.hosts import processes
from cloudroute.lab.hosts.channel import RUN
from cloudroute.lab.hosts.kubelet import sweep
from cloudroute.lab.hosts.netns import execute, kill_inside, leftovers

_KUBE = "kube"
"""A file that says where the data of the API server is."""


def folder_of(name: str) -> Path:
    """Where a lab keeps its files."""
    return RUN / name


def prefix_of(name: str) -> str:
    """What the names of its namespaces begin with. No other lab's do: a name has no hyphen."""
    return f"cr-{name}-"


def remember_kube(folder: Path, data: Path) -> None:
    """Write down where the API server, which is about to start, has its data; its arguments name it."""
    (folder / _KUBE).write_text(str(data), encoding="utf-8")


def tear_down(name: str) -> list[str]:
    """Remove what is left of a lab whose process is gone: what was removed, a word or two each."""
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
    """Remove the namespaces, and kill what runs in them."""
    found = leftovers(prefix)
    kill_inside(found)
    for namespace in found:
        namespace.delete()
    return [f"namespace {namespace.name}" for namespace in found]


def _unmount(folder: Path) -> list[str]:
    """Whatever is mounted below: to remove the folder must not reach through."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4] for line in lines]
    inside = [point for point in points if point.startswith(f"{folder}/")]
    for point in reversed(inside):
        execute("umount", "--lazy", point)
    return inside
