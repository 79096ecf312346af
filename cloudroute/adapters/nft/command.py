"""The nft command: a process of its own for each transaction and each listing.

Its memory, 40 MB with 5,000 peers, is not the agent's, and ends with it. A transaction is sent to the kernel in one
piece: it is there wholly or not at all, whatever becomes of the process.
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
"""For one call. With 5,000 peers it takes a fraction of a second; nft itself waits while others change the tables."""
REMEMBERED = 16
"""How many of our processes are known to be ours: more than run at once, fewer than a pid needs to come back."""

_MISSING = "No such file or directory"
_DENIED = "Operation not permitted"


class Command:
    """Raises errors.KernelError, in words, where there is no nft, or none that may be used."""

    def __init__(self) -> None:
        self.own: deque[int] = deque(maxlen=REMEMBERED)
        """Process ids of our own writers, the youngest last."""
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        found = shutil.which("nft", path=path)
        if found is None:
            raise KernelError("there is no nft command: install it (the package is called nftables)")
        self._nft = found
        self._environment = {"PATH": path, "LC_ALL": "C"}  # its messages are compared
        self.listing()  # may we? The names of all tables would cost the content of all tables, a kube-proxy's too

    def transaction(self, commands: Sequence[Json]) -> None:
        """Do all of them or none. Raises KernelError."""
        data = json.dumps({"nftables": commands}, separators=(",", ":")).encode()
        code, _, complaint = self._run(("-f", "-"), data)
        if code:
            raise KernelError(_words(complaint, code))

    def listing(self) -> bytes | None:
        """Our table as JSON, None where there is none. Raises KernelError.

        Of a table that others have altered it may be no JSON: nft 1.0.6 prints garbage for a table's flags, or crashes.
        """
        code, output, complaint = self._run(("list", "table", "inet", TABLE))
        if code > 0 and _MISSING in complaint:
            return None
        if code > 0:
            raise KernelError(_words(complaint, code))
        return output

    def _run(self, arguments: Sequence[str], data: bytes = b"") -> tuple[int, bytes, str]:
        """Exit code, output, complaint."""
        try:
            with subprocess.Popen(  # noqa: S603 - a path found once, and words of our own
                (self._nft, "-j", *arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
            ) as child:
                if data:
                    self.own.append(child.pid)  # before it can have changed anything: it waits for its input
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
    """What nft complains about, without the places and the input that it quotes.

    >>> _words("internal:0:0-0: Error: Could not process rule: File exists\\n\\n", 1)
    'nft: File exists'
    """
    if _DENIED in complaint:
        return f"nft: {_DENIED}: run as root, or with the capability NET_ADMIN in the host's network namespace"
    quoted = re.search(r"Error: (?:Could not process rule: )?(.+)", complaint) or re.search(r"(.+)", complaint)
    return f"nft: {quoted[1].strip()}" if quoted else f"nft ended with exit code {code} and said nothing"
