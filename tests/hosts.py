"""Network namespaces for tests: hosts with network tables of their own.

    require_netns()
    with Namespace("crxx-") as host, host.inside():
        host.run("ip", "link", "add", "cbr0", "type", "bridge")
        ...  # sockets that this thread opens here belong to the namespace, for good

Its name begins with the prefix, so that leftovers of a killed test can be found and removed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudroute.adapters.cni import find_plugins
from tests.required import lacking

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def require_netns() -> None:
    """Skip the test, or fail it where `netns` is required, unless network namespaces can be made here."""
    if problem := _problem():
        lacking("netns", problem)


def require_nftables() -> None:
    """Skip, or fail, where nft is missing."""
    if shutil.which("nft") is None:
        lacking("nftables")


def require_cni() -> None:
    """Skip, or fail, where a CNI plugin of the agents' configuration is missing."""
    found, searched = find_plugins()
    if missing := {"ptp", "host-local", "portmap", "bandwidth", "loopback", "tuning"} - found:
        lacking("cni", f"no {', '.join(sorted(missing))} in {', '.join(searched)}")


@functools.cache
def _problem() -> str:
    """Return the reason why no network namespace can be made, "" if one can."""
    if os.geteuid() != 0:
        return "this is not root"
    if shutil.which("ip") is None or shutil.which("bridge") is None:
        return "ip or bridge is not there"
    try:
        with Namespace("crprobe-"):
            return ""
    except (subprocess.CalledProcessError, OSError) as error:
        return str(getattr(error, "stderr", "") or error).strip()


class Namespace:
    """A network namespace with `lo` up, which exists inside `with`."""

    def __init__(self, prefix: str) -> None:
        self.name = f"{prefix}{secrets.token_hex(4)}"
        self.path = Path("/run/netns") / self.name

    def __enter__(self) -> Namespace:
        _run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        _run("ip", "netns", "delete", self.name)

    def run(self, *argv: str) -> str:
        """Run a command inside and return its output. Raises CalledProcessError when it fails."""
        return _run("ip", "netns", "exec", self.name, *argv)

    def shell(self, script: str) -> str:
        """Run several commands inside, until one fails."""
        return self.run("sh", "-ec", script)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread, and threads that it starts meanwhile, into the namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(done.stderr)
        raise
    return done.stdout
