"""The tree of exceptions.

    CloudrouteError            text for people: the failure and its remedy
    ├── UsageError             flags, environment or configuration file: all violations at once (exit code 2)
    ├── KernelError            this machine can't be read or configured as needed; the text names the remedy
    ├── LeaseLost              this process may not write any more: it ends
    └── ApiError               one call to EC2 or Kubernetes failed
        ├── Retryable          the request itself may be right: send the same again, later
        │   ├── Throttled      the API asked to slow down
        │   └── Unreachable    no answer; a write may have taken effect: read before the next attempt
        ├── Deferred           not sent: our own call budget is spent for the next `seconds`
        ├── LostRace           the object or route has changed since it was read: read and plan again
        ├── Refused            permanent: the API will never accept this request
        │   └── Forbidden      permanent for all such requests, until a permission or the credentials change
        └── LimitExceeded      the route table is full

AWS error codes and HTTP statuses are mapped onto this tree in one place per API: `adapters/ec2/errors.py`
and `adapters/kube/errors.py`. No other code looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class CloudrouteError(Exception):
    """The root. Caught only in `commands/ending.py`, which prints its lines and exits with 1.

    Each argument is a line. A line break within an argument starts none, since the text may come from outside.
    """

    def __init__(self, first: str, *more: str) -> None:
        super().__init__("\n".join((first, *more)))
        self.lines = (first, *more)


class UsageError(CloudrouteError):
    """All violations in flags, environment and configuration file, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = self.lines


class KernelError(CloudrouteError):
    """A device, table or tool of this machine that is missing or taken, or a missing permission."""


class LeaseLost(CloudrouteError):
    """The lease is not ours, or can't be proved to be."""


def without_passwords(text: str) -> str:
    """Return an API client's text without user names and passwords in its URLs: it ends in logs and Events.

    >>> without_passwords("no answer from https://user:secret@10.0.0.1:443/")
    'no answer from https://10.0.0.1:443/'
    """
    return re.sub(r"://[^/@\s]*@", "://", text)


class ApiError(CloudrouteError):
    """A call that failed.

    `action` is the API's own name for it (CreateRoute; "patch nodes/status"), `resource` the object of the call,
    `code` AWS's error code or the HTTP status ("" when there was no answer), `message` the API's text.
    """

    def __init__(self, action: str, resource: str, code: str, message: str) -> None:
        message = without_passwords(message)
        super().__init__(f"{action} {resource}: {code + ': ' if code else ''}{message}")
        self.action = action
        self.resource = resource
        self.code = code
        self.message = message


class Retryable(ApiError):
    """A call that may succeed later, unchanged."""


class Throttled(Retryable):
    """RequestLimitExceeded and similar codes; HTTP 429. `retry_after` in seconds, 0 when the API named none."""

    def __init__(self, action: str, resource: str, code: str, message: str, retry_after: float = 0) -> None:
        super().__init__(action, resource, code, message)
        self.retry_after = retry_after


class Unreachable(Retryable):
    """Timeout, refused connection, HTTP 5xx. It is unknown whether a write took effect."""


class Deferred(ApiError):
    """A call held back by our own token bucket, so that AWS need not throttle us."""

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
