"""Our files, replaced atomically and watched by `stat`.

The container runtime watches the directory and reads each file in .conf, .conflist or .json the moment it appears. So
a file is written under a name that it ignores, and renamed when complete: a runtime sees the old content or the new.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Collection, Mapping
from typing import NamedTuple

from cloudroute.dataplane import CONFLIST

_LIMIT = 1 << 20
"""Bytes. A file longer than that is not as we wrote it: no need to read on."""


class _Seen(NamedTuple):
    """Properties of a file that change with its content, to compare without reading it."""

    inode: int
    mtime_ns: int
    size: int


class Files:
    """ports.KindDriver: absolute path to content. A file that can't be read counts as missing: a write replaces it."""

    def __init__(self, conf_dir: str) -> None:
        self._own = f"{conf_dir.rstrip('/')}/{CONFLIST}"
        self._lock = threading.Lock()
        self._known: dict[str, _Seen | None] = {}
        """Files as last seen, with which `altered` compares."""

    def read(self, wanted: Collection[str]) -> dict[str, bytes]:
        paths = {self._own, *wanted}
        with self._lock:
            # `stat` before the read: a change in between then differs from it, and is read again.
            self._known |= {path: _look(path) for path in paths}
            return {path: content for path in paths if (content := _content(path)) is not None}

    def write(self, put: Mapping[str, bytes], drop: Collection[str]) -> dict[str, str]:
        failed: dict[str, str] = {}
        with self._lock:
            for path, content in put.items():
                try:
                    self._known[path] = _seen(replace(path, content))
                except OSError as error:
                    failed[path] = _words(path, error)
            for path in drop:
                try:
                    _remove(path)
                    self._known[path] = None
                except OSError as error:
                    failed[path] = _words(path, error)
        return failed

    def altered(self) -> bool:
        """Whether a file that was ever read or written has changed since, or since the last call."""
        with self._lock:
            before, self._known = self._known, {path: _look(path) for path in self._known}
            return self._known != before


def _look(path: str) -> _Seen | None:
    try:
        return _seen(os.stat(path))
    except OSError:
        return None


def _seen(status: os.stat_result) -> _Seen:
    return _Seen(status.st_ino, status.st_mtime_ns, status.st_size)


def _content(path: str) -> bytes | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a FIFO must not block us
            return file.read(_LIMIT)
    except OSError:
        return None


def replace(path: str, content: bytes, mode: int = 0o644) -> os.stat_result:
    """Write a new file, rename it into place and return its `stat`. Raises OSError."""
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    _sweep(directory, name)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)  # or the renamed file may be empty after a crash of the machine
            seen = os.fstat(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return seen


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        _sweep(*os.path.split(path))


def _sweep(directory: str, name: str) -> None:
    """Remove temporary files of processes that were killed before their rename."""
    for leftover in os.listdir(directory):
        if leftover.startswith(f".{name}.") and leftover.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, leftover))


def _words(path: str, error: OSError) -> str:
    """Reason why a file can't be written or removed, and the remedy, in words."""
    directory = os.path.dirname(path)
    elsewhere = "or name another directory by --cni-conf-dir"
    match error.errno:
        case errno.EROFS:
            return f"{directory} is on a read-only file system: mount it writable for the agent, {elsewhere}"
        case errno.ENOTDIR | errno.EEXIST:
            return f"{directory} is not a directory: remove what is in its place, {elsewhere}"
        case errno.EISDIR:
            return f"{path} is a directory: remove it, {elsewhere}"
        case errno.EACCES | errno.EPERM:
            return f"no permission to write in {directory}: run the agent as root, {elsewhere}"
        case errno.ENOSPC | errno.EDQUOT:
            return f"no space left for {path}: free some"
        case _:
            return f"{path} can't be written: {error.strerror}: see to {directory}, {elsewhere}"
