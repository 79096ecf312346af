"""Network namespaces: created, entered, and removed completely.

All names of a lab begin with `cr-<lab>-`, and a lab's name has no hyphen, so after a crash this prefix finds all its
namespaces, and these find the processes inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudroute.errors import CloudrouteError
from cloudroute.types import Family

FOLDER = Path("/run/netns")
"""Folder where iproute2 binds named namespaces."""
END_SECONDS = 5.0
"""Time limit for killed processes to be gone: one that waits for a disk needs a moment."""
_BRIDGE_NETFILTER = [Path(f"/proc/sys/net/bridge/bridge-nf-call-{what}") for what in ("iptables", "ip6tables")]
"""Off, as where br_netfilter is not loaded: EKS's images do not load it (the modules-load files of amazon-eks-ami and
bottlerocket-core-kit), and kubeadm no longer demands it."""
ADDRESS_FAMILIES: Mapping[Family, socket.AddressFamily] = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; the socket module does not name it."""
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with a name. The constructor creates nothing: see `create`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    @property
    def path(self) -> Path:
        """File that represents it: the argument of CNI_NETNS and nsenter."""
        return FOLDER / self.name

    @property
    def exists(self) -> bool:
        """Whether the namespace exists."""
        return self.path.exists()

    def create(self) -> None:
        """Create it, with its loopback up. Raises CloudrouteError when it exists or can't be created."""
        execute("ip", "netns", "add", self.name)
        execute("ip", "-n", self.name, "link", "set", "lo", "up")
        with self.inside():
            for setting in _BRIDGE_NETFILTER:
                if setting.exists():
                    setting.write_text("0", encoding="ascii")

    def delete(self) -> None:
        """Kill the processes in it, then remove it. A missing one is no error."""
        if self.exists:
            kill_inside([self])
            execute("ip", "netns", "del", self.name)

    def run(self, *argv: str, check: bool = True, timeout: float = 30.0, stdin: str = "") -> str:
        """Run a command in it and return its output.

        Raises CloudrouteError, with the command's error output, when it fails (unless `check` is false) or takes longer
        than `timeout`.
        """
        return execute(*self.command(*argv), check=check, timeout=timeout, stdin=stdin)

    def popen(self, argv: Collection[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in it; the process's id is the command's own."""
        return subprocess.Popen(self.command(*argv), **options)  # noqa: S603 - the lab's own commands

    def batch(self, lines: Collection[str], *options: str, check: bool = True) -> None:
        """Run many `ip` commands in one process: up to the first failure, or all of them when `check` is false."""
        if lines:
            force = () if check else ("-force",)
            argv = ("ip", *options, *force, "-n", self.name, "-batch", "-")
            execute(*argv, stdin="\n".join(lines) + "\n", check=check)

    def sysctl(self, values: dict[str, str]) -> None:
        """Write below /proc/sys; keys as net/ipv4/ip_forward."""
        with self.inside():
            for key, value in values.items():
                Path("/proc/sys", key).write_text(value, encoding="ascii")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread, and no other, into the namespace: sockets opened there stay in it until closed."""
        with open("/proc/thread-self/ns/net", "rb") as home:
            with self.path.open("rb") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def command(self, *argv: str) -> tuple[str, ...]:
        """Return the arguments that run `argv` in it, with /sys of its own."""
        return ("ip", "netns", "exec", self.name, *argv)


def leftovers(prefix: str) -> list[Namespace]:
    """Return the namespaces whose names begin with `prefix`, sorted by name."""
    names = os.listdir(FOLDER) if FOLDER.exists() else []
    return [Namespace(name) for name in sorted(names) if name.startswith(prefix)]


def kill_inside(namespaces: Collection[Namespace]) -> int:
    """Kill all processes in the namespaces, and wait until they are gone; returns their number."""
    inodes = {namespace.path.stat().st_ino for namespace in namespaces if namespace.exists}
    killed: set[int] = set()
    deadline = time.monotonic() + END_SECONDS
    while pids := _inside(inodes):
        killed |= pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise CloudrouteError(f"processes {sorted(pids)} do not end though they were killed")
        time.sleep(0.005)
    return len(killed)


def execute(*argv: str, check: bool = True, timeout: float = 30.0, stdin: str = "") -> str:
    """Run a command and return its output. Raises CloudrouteError with its error output when it fails."""
    shown = " ".join(argv)
    try:
        done = subprocess.run(  # noqa: S603 - the lab's own commands
            argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise CloudrouteError(f"{argv[0]} is missing: install it (the lab needs iproute2 and nftables)") from error
    except subprocess.TimeoutExpired as error:
        raise CloudrouteError(f"{shown}: no end after {timeout:g} s") from error
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CloudrouteError(f"{shown}: exit code {done.returncode}: {said}")
    return done.stdout


def _inside(inodes: Collection[int]) -> set[int]:
    found = set()
    for entry in os.listdir("/proc") if inodes else ():
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.add(int(entry))
    return found


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise CloudrouteError(f"can't enter a network namespace: {os.strerror(code)}; the lab needs root")
