"""What can go wrong, as one tree.

    CloudrouteError            its text is for people: what happened, and what to do
    ├── UsageError             flags, environment or configuration file: all violations at once (exit code 2)
    ├── KernelError            this machine can't hold what is wanted, or not be asked: says what to do
    ├── LeaseLost              this process may not write any more: it ends
    └── ApiError               one call to EC2 or Kubernetes did not do what was asked
        ├── Retryable          nothing is known to be wrong with the request: the same again, later
        │   ├── Throttled      the API asked to slow down
        │   └── Unreachable    no answer; a write may have been done all the same: read before trying again
        ├── Deferred           not even sent: our own budget of calls is spent until `seconds` have passed
        ├── LostRace           the world has changed since it was read: read again and plan again
        ├── Refused            for good: this request will never be accepted
        │   └── Forbidden      nor any like it, until somebody changes a permission or the credentials
        └── LimitExceeded      the route table is full

AWS error codes and HTTP statuses are mapped onto it in one place per API: `adapters/ec2/errors.py`
and `adapters/kube/errors.py`. Nothing else looks at codes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class CloudrouteError(Exception):
    """The root. Caught only in `commands/ending.py`, which prints its lines and exits with 1.

    Lines are told apart here and not by line breaks: one within others' words begins no line of its own.
    """

    def __init__(self, first: str, *more: str) -> None:
        super().__init__("\n".join((first, *more)))
        self.lines = (first, *more)


class UsageError(CloudrouteError):
    """Everything that is wrong with flags, environment and configuration file, a sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = self.lines


class KernelError(CloudrouteError):
    """A device, table or tool of this machine that is missing or taken, or a permission that is."""


class LeaseLost(CloudrouteError):
    """The lease is not ours, or can't be proved to be."""


def without_passwords(text: str) -> str:
    """What an API's client says, without who and with which password in its URLs: it ends in logs and Events.

    >>> without_passwords("no answer from https://user:secret@10.0.0.1:443/")
    'no answer from https://10.0.0.1:443/'
    """
    return re.sub(r"://[^/@\s]*@", "://", text)


class ApiError(CloudrouteError):
    """A call that failed.

    `action` is the API's own name for it (CreateRoute; "patch nodes/status"), `resource` what it was for,
    `code` AWS's error code or the HTTP status ("" when there was no answer), `message` the API's words.
    """

    def __init__(self, action: str, resource: str, code: str, message: str) -> None:
        message = without_passwords(message)
        super().__init__(f"{action} {resource}: {code + ': ' if code else ''}{message}")
        self.action = action
        self.resource = resource
        self.code = code
        self.message = message


class Retryable(ApiError):
    """Try the same again, later."""


class Throttled(Retryable):
    """RequestLimitExceeded and its kin; HTTP 429. `retry_after` in seconds, 0 when the API named none."""

    def __init__(self, action: str, resource: str, code: str, message: str, retry_after: float = 0) -> None:
        super().__init__(action, resource, code, message)
        self.retry_after = retry_after


class Unreachable(Retryable):
    """Timeout, refused connection, HTTP 5xx. Whether a write was done is not known."""


class Deferred(ApiError):
    """Held back by our own token bucket, so that AWS need not throttle us."""

    def __init__(self, action: str, resource: str, seconds: float) -> None:
        super().__init__(action, resource, "", f"held back for {seconds:.1f} s by the call budget")
        self.seconds = seconds


class LostRace(ApiError):
    """RouteAlreadyExists, NotFound, HTTP 404, 409, 410 or a failed JSON-patch test."""


class Refused(ApiError):
    """A request that the API will never accept as it is."""


class Forbidden(Refused):
    """UnauthorizedOperation, HTTP 401 and 403, bad credentials."""


class LimitExceeded(ApiError):
    """RouteLimitExceeded."""
