"""HTTP statuses of the Kubernetes API, mapped onto `cloudroute.errors` in this one place.

The idea: a status alone tells what to do next (try again, read again, ask a person), and the text
tells it to a person, with the verb, the resource and the command that shows more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from cloudroute.errors import ApiError, Forbidden, LostRace, Refused, Throttled, Unreachable

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Call(NamedTuple):
    """A request in the words of RBAC: `action` "patch nodes/status", `resource` the object's name."""

    action: str
    resource: str

    @classmethod
    def of(cls, method: str, path: str, *, watch: bool = False) -> Call:
        """Derive both from the method and path of a request.

        >>> Call.of("PATCH", "/api/v1/nodes/n1/status")
        Call(action='patch nodes/status', resource='n1')
        >>> Call.of("GET", "/apis/coordination.k8s.io/v1/namespaces/net/leases/cloudroute")
        Call(action='get leases.coordination.k8s.io', resource='net/cloudroute')
        >>> Call.of("GET", "/apis/cloudroute.io/v1alpha1/noderoutes")
        Call(action='list noderoutes.cloudroute.io', resource='in the cluster')
        """
        parts = [unquote(part) for part in path.strip("/").split("/")]
        group, rest = ("", parts[2:]) if parts[0] == "api" else ("." + parts[1] if len(parts) > 1 else "", parts[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if not rest:
            return cls("get discovery", path)
        name = rest[1] if len(rest) > 1 else ""
        subresource = "/" + rest[2] if len(rest) > 2 else ""
        verb = "watch" if watch else _VERBS.get(method, "get" if name else "list")
        where = f"in namespace {namespace}" if namespace else "in the cluster"
        return cls(f"{verb} {rest[0]}{group}{subresource}", f"{namespace}/{name}".lstrip("/") if name else where)


def from_response(call: Call, status: int, body: bytes, headers: Mapping[str, str], who: str) -> ApiError:
    """The error for an answer that is not 2xx. `who` describes the credentials in use, for the text of a 401."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        parsed = {"message": body[:300].decode(errors="replace").strip() or "no text"}
    return from_status(call, status, parsed, who, _seconds(headers.get("Retry-After", "")))


def from_status(call: Call, code: int, status: Mapping[str, Any], who: str, retry_after: float = 0) -> ApiError:
    """The error for a `Status` object: the body of a failed request, or of a watch's ERROR event."""
    message = str(status.get("message") or status.get("reason") or "no text")
    if code == 429:
        return Throttled(*call, str(code), message, retry_after)
    if code in (404, 409, 410) or (code == 422 and _overtaken(status)):
        return LostRace(*call, str(code), message)
    if code == 408 or code >= 500:
        return Unreachable(*call, str(code), message)
    kind = Forbidden if code in (401, 403) else Refused
    return kind(*call, str(code), message + _remedy(call, code, who))


def no_answer(call: Call, url: str, cause: BaseException) -> Unreachable:
    """The error for a timeout, a refused or broken connection, a bad certificate."""
    reason = str(cause) or type(cause).__name__
    return Unreachable(
        *call, "", f"no answer from {url} ({reason}): is the API server up, and is this the right address for it?"
    )


def _overtaken(status: Mapping[str, Any]) -> bool:
    """Whether a 422 means a lost race: the patch carried the uid of a predecessor, or pod CIDRs are set already."""
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(
        isinstance(cause, dict)
        and (cause.get("field"), cause.get("reason"))
        in (("metadata.uid", "FieldValueInvalid"), ("spec.podCIDRs", "FieldValueForbidden"))
        for cause in causes or ()
    )


def _remedy(call: Call, code: int, who: str) -> str:
    if code == 403:
        verb, kind = call.action.split(" ", 1)
        namespace = call.resource.removeprefix("in namespace ").partition("/")[0] if _namespaced(call) else ""
        question = f"{verb} {kind.replace('/', ' --subresource=')}{' -n ' + namespace if namespace else ''}"
        return (
            f". Allow the verb {verb} on {kind} in the ClusterRole or Role of cloudroute ({who});"
            f" `kubectl auth can-i {question}` shows whether it helped"
        )
    if code == 401:
        return f". The API server does not accept these credentials ({who}): renew them"
    return ""


def _namespaced(call: Call) -> bool:
    return "/" in call.resource or call.resource.startswith("in namespace ")


def _seconds(text: str) -> float:
    """Seconds in a Retry-After header, which Kubernetes only gives as a whole number of them."""
    return float(text) if text.isdigit() else 0.0
