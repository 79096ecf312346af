"""Leases of gateways: an agent renews that of its own node, the controller hears all of them.

A label tells them from other Leases of the namespace, so that the API server sends no others. Each is owned by the
NodeRoute of its node, with which Kubernetes removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from urllib.parse import quote

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.leases import leases_path
from cloudroute.adapters.kube.transport import MERGE_PATCH, Transport
from cloudroute.core.cluster.heartbeats import Heartbeats
from cloudroute.errors import LostRace
from cloudroute.ports import Clock
from cloudroute.types import GATEWAY_LEASE, RENEW_SECONDS, GatewayLease, NodeRoute, Pulse, Renewal, micro_time

LABEL = "cloudroute.io/gateway"
"""Label of these Leases; its value is "true"."""
DURATION_SECONDS = 3
"""For people who read the Lease: each controller uses its own --gateway-lease-seconds."""


def gateway_lease(raw: project.Json) -> GatewayLease | None:
    """A Lease of a gateway; None for any other one."""
    about = project.meta(raw)
    if not about.name.startswith(GATEWAY_LEASE):
        return None
    owner, *_ = (raw.get("metadata") or {}).get("ownerReferences") or [{}]
    renewal = Renewal(str(owner.get("uid") or ""), str((raw.get("spec") or {}).get("renewTime") or ""))
    return GatewayLease(about.name.removeprefix(GATEWAY_LEASE), renewal)


class GatewayLeases:
    """`ports.Heartbeats`, fed by a reflector. `changed` is called when a loop that rests must look again."""

    def __init__(self, seconds: float, clock: Clock, changed: Callable[[], None]) -> None:
        self.known = Heartbeats(seconds)
        self._clock, self._changed = clock, changed
        self._lock = Lock()

    def judge(self, now: float) -> Pulse:
        with self._lock:
            return self.known.judge(now)

    def next_change(self, now: float) -> float:
        with self._lock:
            return self.known.next_change(now)

    # --- the reflector ----------------------------------------------------------------------------

    def replace(self, _version: int, listed: Iterable[tuple[project.Meta, GatewayLease]]) -> None:
        """Apply a full list."""
        with self._lock:
            renewals = {lease.node: lease.renewal for _, lease in listed}
            look = self.known.see_all(renewals, self._clock.monotonic())
        if look:
            self._changed()

    def upsert(self, _meta: project.Meta, lease: GatewayLease | None) -> None:
        """Apply an ADDED or MODIFIED event; None is no gateway's Lease."""
        with self._lock:
            look = lease and self.known.see(lease.node, lease.renewal, self._clock.monotonic())
        if look:
            self._changed()

    def delete(self, meta: project.Meta) -> None:
        """Apply a DELETED event."""
        with self._lock:
            self.known.forget(meta.name.removeprefix(GATEWAY_LEASE))

    def progress(self, _version: int) -> None:
        """Apply a BOOKMARK: nothing follows from it."""


def renew(transport: Transport, namespace: str, own: NodeRoute, now: float) -> None:
    """Renew the Lease of the node of `own`, or create it. `now`: seconds since the epoch. Raises ApiError."""
    name = GATEWAY_LEASE + own.name
    spec = {"holderIdentity": own.name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": micro_time(now)}
    owner = {"apiVersion": project.GROUP_VERSION, "kind": "NodeRoute", "name": own.name, "uid": own.uid}
    owned = {"ownerReferences": [owner]}
    path, timeout = leases_path(namespace), RENEW_SECONDS
    try:
        body: dict[str, Any] = {"metadata": owned, "spec": spec}
        url = f"{path}/{quote(name, safe='')}"
        transport.request("PATCH", url, body=body, content_type=MERGE_PATCH, timeout=timeout)
    except LostRace as error:
        if error.code != "404":
            raise
        about = {"name": name, "namespace": namespace, "labels": {LABEL: "true"}, **owned}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": about, "spec": spec}
        transport.request("POST", path, body=body, timeout=timeout)
