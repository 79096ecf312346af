"""What else the container runtime finds on the node: plugins, and configurations that are not ours."""

from __future__ import annotations

import os

from cloudroute.dataplane import CONFLIST

_PLUGINS = ("ptp", "host-local", "portmap", "bandwidth", "loopback", "tuning")
_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Upstream's, Debian's and Fedora's."""


def find_plugins() -> tuple[frozenset[str], tuple[str, ...]]:
    """The plugins of ours that are installed, and the directories searched: $CNI_PATH, else the usual ones.

    ptp and host-local are needed; the others are used where they are there.
    """
    searched = tuple(filter(None, os.environ.get("CNI_PATH", "").split(":"))) or _DIRECTORIES
    return frozenset(name for name in _PLUGINS if any(_runs(os.path.join(path, name)) for path in searched)), searched


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def shadowing(conf_dir: str) -> list[str]:
    """The configurations that sort before ours: containerd and CRI-O take the first, so that ours is not used.

    Sorted as the runtimes sort them; [] where there is no directory.
    """
    try:
        with os.scandir(conf_dir) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if name.endswith((".conf", ".conflist", ".json")) and name < CONFLIST)
