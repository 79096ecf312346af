"""Errors as codes and words of an answer.

timeout      no answer in time
refused      the far side has no such port, or rejects it
unreachable  no route, here or on the way
too-big      larger than the MTU of the device or of the path
closed       the far side ended the connection too early
dns          the name was not resolved
tls          the port answers, but not with TLS
other        any other error, a malformed question too
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Literal

Code = Literal["timeout", "refused", "unreachable", "too-big", "closed", "dns", "tls", "other"]

_CODES: dict[int, Code] = {
    errno.ETIMEDOUT: "timeout",
    errno.ECONNREFUSED: "refused",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",  # no address of that family to send from
    errno.EACCES: "unreachable",  # a route of type prohibit
    errno.EINVAL: "unreachable",  # a route of type blackhole
    errno.EMSGSIZE: "too-big",
    errno.ECONNRESET: "closed",
    errno.ECONNABORTED: "closed",
    errno.EPIPE: "closed",
}


class Failed(Exception):
    """A question without the answer it asks for. `facts` are further keys of the answer."""

    def __init__(self, code: Code, words: str, **facts: Any) -> None:
        super().__init__(words)
        self.code: Code = code
        self.facts = facts


def failure(error: Exception) -> dict[str, Any]:
    """The answer that an error is."""
    if isinstance(error, Failed):
        return {"ok": False, "error": str(error), "code": error.code, **error.facts}
    code, words = _explain(error)
    return {"ok": False, "error": words, "code": code}


def _explain(error: Exception) -> tuple[Code, str]:
    if isinstance(error, TimeoutError):
        return "timeout", "no answer in time"
    if isinstance(error, socket.gaierror):
        return "dns", str(error.strerror)
    if isinstance(error, OSError) and error.errno:
        return _CODES.get(error.errno, "other"), os.strerror(error.errno)
    return "other", f"{type(error).__name__}: {error}"
