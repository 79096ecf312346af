"""The nft command: a process of its own for each transaction and each listing.

Its memory, 40 MB with 5,000 peers, is freed when it ends and is never part of the agent's. A transaction is sent to the
kernel in one piece: it is applied as a whole or not at all, even if the process is killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence

from cloudroute.adapters.nft.ruleset import Json
from cloudroute.dataplane import TABLE
from cloudroute.errors import KernelError

TIMEOUT_SECONDS = 20.0
"""Timeout of one call. With 5,000 peers it takes a fraction of a second, but nft waits while others change tables."""
REMEMBERED = 16
"""Number of own process ids to remember: more than run at once, fewer than start before a pid is used again."""

_MISSING = "No such file or directory"
_DENIED = "Operation not permitted"


def search_path() -> str:
    """$PATH and the folders of nft, which the PATH of a service may lack."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Command:
    """Runs nft. Raises errors.KernelError where it is missing or not permitted."""

    def __init__(self) -> None:
        self.own: deque[int] = deque(maxlen=REMEMBERED)
        """Process ids of our own writes, the newest last."""
        path = search_path()
        found = shutil.which("nft", path=path)
        if found is None:
            raise KernelError("there is no nft command: install it (the package is called nftables)")
        self._nft = found
        self._environment = {"PATH": path, "LC_ALL": "C"}  # its messages are compared, so they must be in English
        self.listing()  # check permission; listing all tables would read a kube-proxy's too

    def transaction(self, commands: Sequence[Json]) -> None:
        """Apply all commands or none. Raises KernelError."""
        data = json.dumps({"nftables": commands}, separators=(",", ":")).encode()
        self._succeed(("-f", "-"), data)

    def listing(self) -> bytes | None:
        """Our table as JSON, None where it does not exist. Raises KernelError.

        If others have altered the table it may be no JSON: nft 1.0.6 prints garbage for a table's flags, or crashes.
        """
        code, output, complaint = self._run(("list", "table", "inet", TABLE))
        if code > 0 and _MISSING in complaint:
            return None
        if code > 0:
            raise KernelError(_words(complaint, code))
        return output

    def counters(self) -> bytes:
        """The named counters of our table as JSON. Raises KernelError, also where there is no table."""
        return self._succeed(("list", "counters", "table", "inet", TABLE))

    def all(self, what: str) -> bytes:
        """The "tables" or "chains" of all programs as JSON. Raises KernelError."""
        return self._succeed(("list", what))

    def _succeed(self, arguments: Sequence[str], data: bytes = b"") -> bytes:
        """Run nft and return its stdout. Raises KernelError unless it ends with 0."""
        code, output, complaint = self._run(arguments, data)
        if code:
            raise KernelError(_words(complaint, code))
        return output

    def _run(self, arguments: Sequence[str], data: bytes = b"") -> tuple[int, bytes, str]:
        """Run nft. Returns exit code, stdout, stderr."""
        try:
            with subprocess.Popen(  # noqa: S603 - a path found once, and words of our own
                (self._nft, "-j", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
            ) as child:
                if data:
                    self.own.append(child.pid)  # before it can change anything: it still waits for its input
                try:
                    output, complaint = child.communicate(data, TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    words = f"nft {' '.join(arguments)} did not end within {TIMEOUT_SECONDS:.0f} s"
                    raise KernelError(f"{words}: look for another program that changes nftables all the time") from None
        except OSError as error:
            raise KernelError(f"{self._nft} can't be run: {error.strerror or error}") from None
        return child.returncode, output, complaint.decode(errors="replace")


def _words(complaint: str, code: int) -> str:
    """The error message of nft without the positions and the input that it quotes.

    >>> _words("internal:0:0-0: Error: Could not process rule: File exists\\n\\n", 1)
    'nft: File exists'
    """
    if _DENIED in complaint:
        return f"nft: {_DENIED}: run as root, or with the capability NET_ADMIN in the host's network namespace"
    quoted = re.search(r"Error: (?:Could not process rule: )?(.+)", complaint) or re.search(r"(.+)", complaint)
    return f"nft: {quoted[1].strip()}" if quoted else f"nft ended with exit code {code} and said nothing"
