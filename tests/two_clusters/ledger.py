"""A record of every successful write to EC2, by the access key of its caller."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.wire import Request, Response

_DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock")
_TAKING = ("DeleteRoute", "ReplaceRoute")


class Trespass(NamedTuple):
    """A write to a route that another access key has made."""

    access_key: str
    action: str
    destination: str
    alive: bool
    """Whether the interface that the route led to was still there."""


class Ledger:
    """Records the calls of all sessions that are created after it."""

    def __init__(self, aws: Aws) -> None:
        self._aws, self._answer = aws, aws.answer
        self._lock = threading.Lock()
        self._makers: dict[tuple[str, str], str] = {}
        """(table, destination) -> access key that wrote that route last."""
        self.trespasses: list[Trespass] = []
        self.writes: Counter[tuple[str, str]] = Counter()
        """(access key, action) -> number of successful calls."""
        self.interfaces: dict[str, set[str]] = {}
        """Access key -> ENIs whose source/dest check it has changed."""
        aws.answer = self._read_along  # type: ignore[method-assign] # the one way in

    def _read_along(self, request: Request) -> Response:
        if request.action not in ("CreateRoute", *_TAKING, "ModifyNetworkInterfaceAttribute"):
            return self._answer(request)
        with self._lock:
            target = self._target(request)
            response = self._answer(request)
            if response.status == 200:
                self._note(request, target)
        return response

    def _note(self, request: Request, target: str) -> None:
        self.writes[request.access_key, request.action] += 1
        if request.action == "ModifyNetworkInterfaceAttribute":
            self.interfaces.setdefault(request.access_key, set()).add(request.get("NetworkInterfaceId"))
            return
        place = (request.get("RouteTableId"), _destination(request))
        if request.action in _TAKING and self._makers.get(place) != request.access_key:
            self.trespasses.append(Trespass(request.access_key, request.action, place[1], self._exists(target)))
        if request.action == "DeleteRoute":
            self._makers.pop(place, None)
        else:
            self._makers[place] = request.access_key

    def _target(self, request: Request) -> str:
        """Interface that the route leads to before the write, "" for another target."""
        if request.action not in _TAKING:
            return ""
        route = self._aws.scene.routes(request.get("RouteTableId")).get(_destination(request), {})
        return str(route.get("NetworkInterfaceId", ""))

    def _exists(self, interface_id: str) -> bool:
        wanted = [{"Name": "network-interface-id", "Values": [interface_id]}]
        return bool(self._aws.scene.ec2.describe_network_interfaces(Filters=wanted)["NetworkInterfaces"])


def _destination(request: Request) -> str:
    return next((value for name in _DESTINATIONS if (value := request.get(name))), "")
