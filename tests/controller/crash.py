"""A process that dies after so many writes."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import patch

import boto3

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.transport import Transport
from cloudroute.ports import Fence
from tests.controller.lab import Lab


class Crash(Exception):
    """The process is no more: no request leaves it."""


class Fuse:
    """Lets `left` writes through, to EC2 and to Kubernetes together, Events aside; then every request raises Crash.

    For EC2 it is the fence, which is asked once before the bytes of a write leave.
    """

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def check(self) -> None:
        """Burn a bit."""
        with self._lock:
            if self._left <= 0:
                raise Crash
            self._left -= 1

    def wrap(self, transport: Transport) -> None:
        """Count the writes of this transport."""
        request = transport.request

        def counted(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            if method != "GET" and "events" not in path:
                self.check()
            return request(method, path, *args, **kwargs)

        transport.request = counted  # type: ignore[method-assign] # the one place where all of them pass


def doom(world: Lab, left: int, *, leave: bool = False) -> bool:
    """A controller, or `cleanup`, runs until all is settled, or dies after `left` writes; whether it died."""
    fuse = Fuse(left)

    def client(session: boto3.Session, region: str, _: Fence, *rest: Any) -> Ec2Client:
        return Ec2Client(session, region, fuse, *rest)

    with patch("tests.controller.lab.Ec2Client", client):
        world.start(leave=leave)
    fuse.wrap(world.cluster.transport)
    try:
        world.run()
    except Crash:
        return True
    return False
