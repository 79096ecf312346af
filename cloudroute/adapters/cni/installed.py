"""CNI plugins on the node, and configurations and leases of other networks."""

from __future__ import annotations

import contextlib
import os

from cloudroute.dataplane import CONFLIST, LEASES, NETWORK, packed

PLUGINS = ("ptp", "host-local", "portmap", "bandwidth", "loopback", "tuning")
"""The plugins in our configuration, and `loopback`, which containerd calls for every pod."""
_DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Plugin directories of upstream, Debian and Fedora."""


def find_plugins() -> tuple[frozenset[str], tuple[str, ...]]:
    """Return our plugins that are installed, and the directories searched: $CNI_PATH, else the usual ones.

    ptp and host-local are required; the others are used where they are installed.
    """
    searched = tuple(filter(None, os.environ.get("CNI_PATH", "").split(":"))) or _DIRECTORIES
    return frozenset(name for name in PLUGINS if any(_runs(os.path.join(path, name)) for path in searched)), searched


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def shadowing(conf_dir: str) -> list[str]:
    """Configurations that sort before ours: containerd and CRI-O take the first, so that ours is not used.

    Sorted as the runtimes sort them; [] where there is no directory.
    """
    try:
        with os.scandir(conf_dir) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return sorted(name for name in names if name.endswith((".conf", ".conflist", ".json")) and name < CONFLIST)


def leases_of_others(folder: str = LEASES) -> dict[str, frozenset[bytes]]:
    """Addresses that host-local has leased in other networks, by the network's name; {} once our network has a folder.

    A lease is a file with the address as its name. If our network has a folder, the others' leases have been linked
    into it, or pods of ours have run here. From then on a lease may belong to a pod that is gone: containerd deletes a
    pod with the present configuration, so that the plugin looks for the lease in our folder and leaves the old one.
    """
    names = sorted(_names(folder))
    if NETWORK in names:
        return {}
    return {name: addresses for name in names if (addresses := _addresses(f"{folder}/{name}"))}


def _addresses(folder: str) -> frozenset[bytes]:
    found: set[bytes] = set()
    for name in _names(folder):
        with contextlib.suppress(ValueError):  # host-local's lock, and the last address that it gave
            found.add(packed(name))
    return frozenset(found)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
