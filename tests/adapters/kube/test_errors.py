"""The meaning of each HTTP status of the API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudroute.adapters.kube import errors
from cloudroute.adapters.kube.errors import Call
from cloudroute.errors import ApiError, Forbidden, LostRace, Refused, Throttled, Unreachable

CREATE = "create leases.coordination.k8s.io"
CALL = Call("patch nodes/status", "n1")


def error(code: int, status: dict[str, Any] | bytes = b"", **headers: str) -> ApiError:
    body = status if isinstance(status, bytes) else json.dumps(status).encode()
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return errors.from_response(CALL, code, body, named, "the pod's service account")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, Refused),
        (401, Forbidden),
        (403, Forbidden),
        (404, LostRace),
        (405, Refused),
        (408, Unreachable),
        (409, LostRace),
        (410, LostRace),
        (415, Refused),
        (422, Refused),
        (429, Throttled),
        (500, Unreachable),
        (503, Unreachable),
        (504, Unreachable),
    ],
)
def test_every_status_says_what_to_do_next(code: int, kind: type[ApiError]) -> None:
    """The error's class tells the reaction: retry, read again, or report."""
    assert type(error(code)) is kind
    assert error(code).code == str(code)


def test_a_refusal_names_the_verb_the_resource_the_user_and_the_remedy() -> None:
    """The message of a 403 names the permission, the user, and the command that checks it."""
    text = str(error(403, {"message": 'nodes "n1" is forbidden: User "bob" cannot patch resource "nodes/status"'}))
    for words in (
        "patch nodes/status n1",
        'User "bob"',
        "the pod's service account",
        "kubectl auth can-i patch nodes --subresource=status",
    ):
        assert words in text


@pytest.mark.parametrize("resource", ["cloudroute/cloudroute", "in namespace cloudroute"])
def test_the_remedy_asks_in_the_right_namespace(resource: str) -> None:
    """The remedy names the namespace: kubectl would check the permission in another one."""
    call = Call("create leases.coordination.k8s.io", resource)
    text = str(errors.from_status(call, 403, {"message": "no"}, "the pod's service account"))
    assert "`kubectl auth can-i create leases.coordination.k8s.io -n cloudroute`" in text


def test_unaccepted_credentials_are_named() -> None:
    """The message of a 401 names the credentials to renew."""
    assert "the pod's service account" in str(error(401, {"message": "Unauthorized"}))


def test_retry_after_is_kept() -> None:
    """A 429 carries the seconds the server named; anything but seconds is 0."""
    throttled = error(429, {"message": "slow down"}, Retry_After="7")
    assert isinstance(throttled, Throttled)
    assert throttled.retry_after == 7
    other = error(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")
    assert isinstance(other, Throttled)
    assert other.retry_after == 0


@pytest.mark.parametrize(
    ("field", "reason", "kind"),
    [
        ("metadata.uid", "FieldValueInvalid", LostRace),
        ("spec.podCIDRs", "FieldValueForbidden", LostRace),
        ("spec.podCIDRs", "FieldValueInvalid", Refused),
        ("spec.providerID", "FieldValueForbidden", Refused),
    ],
)
def test_an_invalid_object_is_a_lost_race_only_where_somebody_was_faster(
    field: str, reason: str, kind: type[ApiError]
) -> None:
    """422 is a lost race for another uid or for pod CIDRs set meanwhile; otherwise a refusal."""
    assert type(error(422, {"message": "invalid", "details": {"causes": [{"field": field, "reason": reason}]}})) is kind


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b'"text"', b"\xff\xfe", b'{"details": 3}'])
def test_a_body_that_is_no_status_does_no_harm(body: bytes) -> None:
    """A body that is no Status, as of a proxy, raises the same class of error."""
    assert type(error(502, body)) is Unreachable
    assert type(error(422, body)) is Refused


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", "/api/v1/nodes", False, ("list nodes", "in the cluster")),
        ("GET", "/api/v1/nodes", True, ("watch nodes", "in the cluster")),
        ("GET", "/api/v1/namespaces/shop/pods/web", False, ("get pods", "shop/web")),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/a/leases", False, (CREATE, "in namespace a")),
        ("DELETE", "/apis/cloudroute.io/v1alpha1/noderoutes/a%2Fb", False, ("delete noderoutes.cloudroute.io", "a/b")),
        ("GET", "/apis/cloudroute.io/v1alpha1", False, ("get discovery", "/apis/cloudroute.io/v1alpha1")),
    ],
)
def test_a_request_is_named_in_the_words_of_rbac(
    *, method: str, path: str, watch: bool, expected: tuple[str, str]
) -> None:
    """Action and resource of an error have the names of a ClusterRole."""
    assert Call.of(method, path, watch=watch) == expected
