"""Identity of a process that may lead, as written in the Lease: `host_` and eight random hexadecimal digits."""

from __future__ import annotations

import re

NONCE = 8
"""Number of digits. They tell a process from the one before it on the same host."""
_IDENTITY = re.compile(rf"(.+)_[0-9a-f]{{{NONCE}}}")


def identity(host: str, nonce: str) -> str:
    """Identity of a process on that host. `nonce` has at least `NONCE` hexadecimal digits.

    >>> identity("ip-10-0-0-9", "77aa0c1d5e6f")
    'ip-10-0-0-9_77aa0c1d'
    """
    return f"{host}_{nonce[:NONCE]}"


def host_of(holder: str) -> str:
    """Host part of an identity; "" for a holder whose name no process of cloudroute can have.

    >>> host_of("ip-10-0-0-9_77aa0c1d"), host_of("somebody"), host_of("node_1")
    ('ip-10-0-0-9', '', '')
    """
    found = _IDENTITY.fullmatch(holder)
    return found[1] if found else ""
