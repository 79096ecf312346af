"""The sysctl settings (below /proc/sys) that forwarding needs.

Only wanted settings are read, and none is ever set back: the value that a machine had before is not known.

The key is the path and not the dotted name: `net/ipv4/conf/eth0.100/rp_filter` has dots of its own. Descriptors stay
open, or polling once a second would spend its time on looking up seven directories.

In a container without privileges /proc/sys is read-only, and a runtime mounts nothing over a part of it. But a pod can
have the node's /proc/sys/net below `ELSEWHERE`: the same files, and for the network namespace of the process that opens
them.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Mapping

PROC_SYS, ELSEWHERE = "/proc/sys", "/host/proc/sys"


def writable_root() -> str:
    """Directory to write to: `PROC_SYS`, or `ELSEWHERE` where that is read-only and the node's net is mounted."""
    read_only = os.statvfs(PROC_SYS).f_flag & os.ST_RDONLY
    return ELSEWHERE if read_only and os.path.isdir(f"{ELSEWHERE}/net") else PROC_SYS


class Sysctls:
    """ports.KindDriver: path below /proc/sys to value. A setting that this kernel or device lacks is left out."""

    def __init__(self) -> None:
        self._root = writable_root()
        self._lock = threading.Lock()
        self._known: dict[str, str | None] = {}
        """Values as last seen, with which `altered` compares."""
        self._open: dict[str, int] = {}

    def read(self, wanted: Collection[str]) -> dict[str, str]:
        with self._lock:
            found = {path: self._value(path) for path in wanted}
            self._known |= found
        return {path: value for path, value in found.items() if value is not None}

    def write(self, put: Mapping[str, str], drop: Collection[str]) -> dict[str, str]:  # noqa: ARG002 # nothing to undo
        failed: dict[str, str] = {}
        with self._lock:
            for path, value in put.items():
                try:
                    self._set(path, value)
                except OSError as error:
                    failed[path] = _words(path, value, error)
                    continue
                self._known[path] = held = self._value(path)
                if held != value:
                    failed[path] = f"{path} was set to {value} and is {held}: see what else on this machine sets it"
        return failed

    def altered(self) -> bool:
        """Whether a setting that was ever read or written has changed since, or since the last call."""
        with self._lock:
            before, self._known = self._known, {path: self._value(path) for path in self._known}
            return self._known != before

    def close(self) -> None:
        """Close all descriptors."""
        with self._lock:
            self._known.clear()
            while self._open:
                os.close(self._open.popitem()[1])

    def _value(self, path: str) -> str | None:
        """The value with single spaces; None where the setting does not exist or can't be read."""
        for _ in range(2):
            try:
                descriptor = self._open.get(path)
                if descriptor is None:
                    descriptor = self._open[path] = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
                return " ".join(os.pread(descriptor, 4096, 0).decode().split())
            except OSError:  # its device has gone, and may be back under the same name: open it again
                if (stale := self._open.pop(path, None)) is None:
                    return None
                os.close(stale)
        return None

    def _set(self, path: str, value: str) -> None:
        descriptor = os.open(f"{self._root}/{path}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)


def _words(path: str, value: str, error: OSError) -> str:
    """Reason why a setting can't be made, and the remedy, in words."""
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"{path} does not exist: the device is gone, or this kernel is without it (IPv6 switched off?)"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return (
                f"{path} can't be set to {value}: {error.strerror}: give the agent NET_ADMIN, and in a container the "
                f"node's {PROC_SYS}/net at {ELSEWHERE}/net as the chart does, or set it in the node's image "
                "(/etc/sysctl.d)"
            )
        case errno.EINVAL | errno.ERANGE:
            return f"{path} does not take {value!r}: {error.strerror}"
        case _:
            return f"{path} can't be set to {value}: {error.strerror}"
