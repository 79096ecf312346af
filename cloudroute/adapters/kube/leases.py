"""ports.Leases over one coordination.k8s.io/v1 Lease."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cloudroute.adapters.kube.transport import Transport
from cloudroute.errors import LostRace, Refused
from cloudroute.types import LeaseRecord


def leases_path(namespace: str) -> str:
    """Path of the Leases of a namespace."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"


class KubeLeases:
    """ports.Leases for the Lease `namespace`/`name`; each call takes `timeout` seconds at most."""

    def __init__(self, transport: Transport, namespace: str, name: str, timeout: float) -> None:
        self._transport = transport
        self._namespace = namespace
        self._name = name
        self._timeout = timeout
        self._collection = leases_path(namespace)
        self._path = f"{self._collection}/{quote(name, safe='')}"

    def read(self) -> LeaseRecord | None:
        try:
            return _record(self._transport.request("GET", self._path, timeout=self._timeout))
        except LostRace:  # 404
            return None

    def write(self, record: LeaseRecord) -> LeaseRecord:
        # resourceVersion makes the PUT fail when another process has written since `record` was read.
        version = {"resourceVersion": record.version} if record.version else {}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, **version},
            "spec": {
                "holderIdentity": record.holder,
                "leaseDurationSeconds": record.duration_seconds,
                "acquireTime": record.acquire_time or None,
                "renewTime": record.renew_time or None,
                "leaseTransitions": record.transitions,
            },
        }
        if record.version:
            return _record(self._transport.request("PUT", self._path, body=body, timeout=self._timeout))
        try:
            return _record(self._transport.request("POST", self._collection, body=body, timeout=self._timeout))
        except LostRace as error:
            if error.code != "404":
                raise
            advice = f"there is no namespace {self._namespace}: kubectl create namespace {self._namespace}"
            raise Refused(error.action, error.resource, error.code, advice) from error


def _record(raw: dict[str, Any]) -> LeaseRecord:
    spec = raw.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquire_time=spec.get("acquireTime") or "",
        renew_time=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
        version=raw["metadata"]["resourceVersion"],
    )
