"""AWS's wire protocols: requests in, answers out.

EC2, IAM and STS take a form (`Action=CreateRoute&RouteTableId=…`) and answer XML; Service Quotas takes and answers
JSON. All other modules see a `Request` with flat parameters and answer a tree of *wire names* (`routeTableId`, not
`RouteTableId`), which `xml` renders. Sources: "Making requests to the Amazon EC2 API using the Query API" and "Error
codes for the Amazon EC2 API", and the `ec2`, `query` and `json` protocols of botocore.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

Service = Literal["ec2", "iam", "sts", "servicequotas"]
AsOf = Callable[[str], float]
"""Id of a resource -> the monotonic time whose state is shown; one before its creation leaves the resource out."""

_SCOPE = re.compile(r"Credential=([^/,]+)/\d*/([^/,]*)/([^/,]+)/aws4_request")
_VERSIONS: Mapping[str, Service] = {"2016-11-15": "ec2", "2010-05-08": "iam", "2011-06-15": "sts"}
_SERVICES: Mapping[str, Service] = {name: name for name in ("ec2", "iam", "sts", "servicequotas")}
_STATUS = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "AccessDenied": 403,
    "DryRunOperation": 412,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}


class AwsError(Exception):
    """An error answer. Its HTTP status is AWS's own for the code, 400 by default."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or _STATUS.get(code, 400)


class DryRun(AwsError):
    """The request was a dry run, and would have been allowed."""

    def __init__(self) -> None:
        super().__init__("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `params` are flat, as on the wire: `Filter.1.Value.2`."""

    service: Service
    action: str
    params: Mapping[str, str]
    access_key: str
    region: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: bool = False
    """The lab's own call while it builds a scene: exempt from counting, throttling, faults and IAM."""
    as_of: AsOf | None = None
    """Time of the state that a describe shows of each resource; None is now."""

    def get(self, name: str) -> str:
        """Return a parameter, "" when absent."""
        return self.params.get(name, "")

    def required(self, name: str) -> str:
        """Return a parameter that the API reference marks as required. Raises AwsError when absent."""
        if value := self.params.get(name):
            return value
        raise AwsError("MissingParameter", f"The request must contain the parameter {name}")

    def listed(self, name: str) -> list[str]:
        """Return the values of `name.1`, `name.2`, … in order, without repeats."""
        values: dict[str, None] = {}
        for index in range(1, len(self.params) + 1):
            value = self.params.get(f"{name}.{index}")
            if value is None:
                break
            values[value] = None
        return list(values)

    def filters(self) -> Iterator[tuple[str, list[str]]]:
        """Return name and values of each filter."""
        for index in range(1, len(self.params) + 1):
            name = self.params.get(f"Filter.{index}.Name")
            if name is None:
                return
            yield name, self.listed(f"Filter.{index}.Value")

    def stop_if_dry(self) -> None:
        """Raise DryRun on a dry run: called after the checks and before the change."""
        if self.get("DryRun").lower() == "true":
            raise DryRun


@dataclass(frozen=True, slots=True)
class Response:
    """An answer and its delivery: one with `cut` or `hang` never arrives."""

    status: int
    body: bytes
    content_type: str = "text/xml;charset=UTF-8"
    code: str = "OK"
    fate: Literal["arrives", "cut", "hang"] = "arrives"
    delay: float = 0.0
    """Extra seconds until it arrives. The change is made at once."""


def parse(method: str, url: str, headers: Mapping[str, str], body: bytes, *, own: bool = False) -> Request:
    """Parse an HTTP request. `headers` must find names in any case. Raises AwsError for anything but an AWS call."""
    signed = _SCOPE.search(headers.get("Authorization") or "")
    access_key, region, scope = signed.groups() if signed else ("", "", "")
    target = headers.get("X-Amz-Target")
    if target:
        service, action, params = _SERVICES.get(scope), target.rpartition(".")[2], _flat_json(body)
    else:
        text = body.decode() if method == "POST" and body else urlsplit(url).query
        params = dict(parse_qsl(text, keep_blank_values=True))
        action = params.get("Action", "")
        service = _SERVICES.get(scope) or _VERSIONS.get(params.get("Version", ""))
    if service is None or not action:
        raise AwsError("InvalidAction", f"This lab answers EC2, IAM, STS and Service Quotas, not {scope or url!r}")
    return Request(service, action, params, access_key, region, headers, own)


def _flat_json(body: bytes) -> dict[str, str]:
    return {name: str(value) for name, value in json.loads(body or b"{}").items()}


def xml(value: object) -> str:
    """Render a tree of wire names as XML: lists become `<item>`s, None is left out."""
    rendered = getattr(value, "xml", None)
    if rendered is not None:
        return str(rendered)
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{xml(inner)}</{name}>" for name, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return "".join(f"<item>{xml(inner)}</item>" for inner in value)
    return "true" if value is True else "false" if value is False else escape(str(value))


def answer(request: Request, result: Mapping[str, Any]) -> Response:
    """Build the successful answer of an EC2 action or, as JSON, of Service Quotas."""
    if request.service == "servicequotas":
        return Response(200, json.dumps(result).encode(), "application/x-amz-json-1.1")
    name = request.action + "Response"
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{uuid.uuid4()}</requestId>{xml(result)}</{name}>"
    )
    return Response(200, text.encode())


def refusal(service: Service, error: AwsError) -> Response:
    """Build the error answer, in the format of this service's clients."""
    content_type = "text/xml;charset=UTF-8"
    code, message = escape(error.code), escape(error.message)
    if service == "servicequotas":
        content_type = "application/x-amz-json-1.1"
        text = json.dumps({"__type": error.code, "message": error.message})
    elif service == "ec2":
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{uuid.uuid4()}</RequestID></Response>"
        )
    else:
        kind = "Receiver" if error.status >= 500 else "Sender"
        text = (
            f"<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
    return Response(error.status, text.encode(), content_type, error.code)
