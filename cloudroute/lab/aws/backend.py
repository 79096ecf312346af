"""moto behind a narrow interface.

moto keeps its state per account id in module globals, so each `Backend` takes an account id of its own and drops the
account's state when it is closed. Calls that need no correction are dispatched to moto's response classes directly:
no global mock, no sockets. moto answers 500 when two calls run in it at once, so the caller holds one lock around all.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from moto.core.exceptions import ServiceException
from moto.core.model_instances import model_data
from moto.core.request import Request as MotoRequest
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses import EC2Response
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse
from moto.sts.models import sts_backends
from moto.sts.responses import TokenResponse

from cloudroute.lab.aws.wire import AwsError, Request, Response, Service

_accounts = itertools.count(100_000_000_001)
_HANDLERS: Mapping[Service, Any] = {"ec2": EC2Response, "iam": IamResponse, "sts": TokenResponse}
_CODE = re.compile(rb"<Code>([^<]*)</Code>")


class _Untracked(list[Any]):
    """Replaces moto's list of all instances of a class ever made, which only its dashboard reads; stays empty.

    Otherwise no account could be garbage-collected while the process lives, and a test suite makes thousands.
    """

    def append(self, _: object) -> None:
        """Keep nothing."""


for _models in model_data.values():
    for _model in _models.values():
        _model.instances_tracked = _Untracked()  # type: ignore[attr-defined]  # set by moto's metaclass


def _description(rule: Any) -> Any:
    """Return a security group rule's description. moto shows those of CIDR rules only; Terraform reads all."""
    return rule.ip_range.get("Description") or rule.source_group.get("Description")


_Rule: Any = SecurityGroupRule  # typed Any: mypy forbids replacing a method
_Rule.description = property(_description)


RegionsAndZonesBackend.zones["beyond the regions"] = [
    Zone("eu-central-1-ham-1a", "eu-central-1", "euc1-ham1-az1", "local-zone"),
    Zone("eu-central-1-wl1-ber-wlz-1", "eu-central-1", "euc1-wl1-ber-wlz1", "wavelength-zone"),
]
"""A Local Zone and a Wavelength Zone of the lab's region, for subnets. DescribeAvailabilityZones lists neither, as in
an account that has not opted in, so that no caller takes one for an availability zone by mistake."""


class _LazyEc2(EC2Backend):
    """moto's EC2, with its 1,300 images created on the first request for images.

    They would take half of the set-up time of an account, and each launch would search them all.
    """

    _loaded = False

    def _load_amis(self) -> None:
        """Load no images while moto sets up: see `load_images`."""

    def load_images(self) -> None:
        """Create the images, once."""
        if not self._loaded:
            self._loaded = True
            super()._load_amis()


class Backend:
    """One AWS account in one region, as moto models it."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.account = str(next(_accounts))
        here = ec2_backends[self.account]
        here.backend = _LazyEc2
        self.ec2: Any = here[region]

    def dispatch(self, request: Request, changes: Mapping[str, str] | None = None) -> Response:
        """Return moto's own answer to the request, with some parameters changed."""
        handler = _HANDLERS.get(request.service)
        if handler is None:
            raise AwsError("UnknownOperationException", f"This lab has no {request.service}:{request.action}")
        if "Image" in request.action:
            self.ec2.load_images()
        with _answering(request.action):
            status, _, answer = handler.dispatch(self._translate(request, changes or {}))
        raw = answer if isinstance(answer, bytes) else answer.encode()
        code = "OK" if status < 400 else _first(_CODE, raw) or str(status)
        return Response(status, raw, code=code)

    def launch(self, request: Request, changes: Mapping[str, str]) -> Any:
        """RunInstances; returns moto's reservation.

        moto would render an answer, which takes as long as the launch and is not used here.
        """
        responder = EC2Response()
        with _answering(request.action):
            responder.setup_class(self._translate(request, changes))
            return responder.run_instances().result

    def _translate(self, request: Request, changes: Mapping[str, str]) -> Any:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-moto-account-id": self.account,
        }
        for name in ("Authorization", "X-Amz-Security-Token"):
            if value := request.headers.get(name):
                headers[name] = value
        host = "iam" if request.service == "iam" else f"{request.service}.{self.region}"
        body = urlencode({**request.params, **changes}).encode()
        return MotoRequest.from_primitives("POST", f"https://{host}.amazonaws.com/", headers, body)


@contextlib.contextmanager
def _answering(action: str) -> Iterator[None]:
    """Turn any exception inside moto into an error answer of the server."""
    try:
        yield
    except ServiceException as error:
        raise AwsError(error.code, str(error.message)) from error
    except NotImplementedError as error:
        raise AwsError("InvalidAction", f"This lab has no {action}: {error}") from error
    except Exception as error:
        raise AwsError("InternalError", f"{action} failed inside moto: {error!r}") from error


def forget(account: str) -> None:
    """Drop moto's state of the account."""
    for backends in (ec2_backends, iam_backends, sts_backends):
        backends.pop(account, None)


def _first(pattern: re.Pattern[bytes], text: bytes) -> str:
    found = pattern.search(text)
    return found.group(1).decode() if found else ""
