"""The lab's AWS as a process of its own: `cloudroute lab aws`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cloudroute.lab.aws.aws import ROOT_KEY, Aws


def serve_forever(
    listen: str,
    *,
    region: str,
    route_quota: int,
    throttle: bool,
    enforce_iam: bool,
    announce: Callable[[str, str], None],
    stop: threading.Event,
) -> None:
    """Serve a fresh account on `listen` ("127.0.0.1:5000", "[::1]:5000", ":5000") until `stop` is set.

    `announce` is called with the endpoint URL and the root access key id as soon as the server answers.
    """
    host, _, port = listen.rpartition(":")
    aws = Aws(region=region, route_quota=route_quota, throttle=throttle, enforce_iam=enforce_iam)
    with aws.serve(host.strip("[]") or "127.0.0.1", int(port)) as server:
        announce(server.url, ROOT_KEY)
        stop.wait()
