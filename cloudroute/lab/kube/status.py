"""Refusals of the API: a `Status` object, carried by one exception."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as JSON. Stored ones carry neither apiVersion nor kind, and are never changed in place."""


class Cause(NamedTuple):
    """One invalid field. `reason` is Kubernetes' own: FieldValueInvalid, FieldValueRequired, ..."""

    field: str
    reason: str
    message: str


class StatusError(Exception):
    """An answer other than success. `code` is the HTTP status, `reason` the machine-readable word for it."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def body(self) -> Object:
        """Return the Status object."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def bad_request(message: str) -> StatusError:
    """400: the request can't be parsed."""
    return StatusError(400, "BadRequest", message)


def no_such_resource() -> StatusError:
    """404 for a path of no resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def not_found(resource: str, name: str) -> StatusError:
    """404 for an object. `resource` is "nodes" or "noderoutes.cloudroute.io"."""
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', _details(resource, name))


def already_exists(resource: str, name: str) -> StatusError:
    """409 for a create."""
    return StatusError(409, "AlreadyExists", f'{resource} "{name}" already exists', _details(resource, name))


def conflict(resource: str, name: str, why: str = "") -> StatusError:
    """409 for a write against another resourceVersion than the present one."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def _details(qualified: str, name: str) -> Object:
    kind, _, group = qualified.partition(".")
    return {"name": name, "kind": kind} | ({"group": group} if group else {})


def expired(message: str) -> StatusError:
    """410: the requested version is no longer kept."""
    return StatusError(410, "Expired", message)


def invalid(kind: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422: every invalid field at once. `kind` is "Node" or "NodeRoute.cloudroute.io"."""
    sentences = [f"{cause.field}: {cause.message}" for cause in causes]
    text = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    details = {**_details(kind, name), "causes": [cause._asdict() for cause in causes]}
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)


def invalid_value(field: str, value: object, message: str) -> Cause:
    """A field whose value breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {message}")


def forbidden(field: str, message: str) -> Cause:
    """A field that this request may not set."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {message}")


def required(field: str, message: str = "") -> Cause:
    """A field that is missing."""
    return Cause(field, "FieldValueRequired", f"Required value{': ' + message if message else ''}")
