"""Printer columns: the table of `kubectl get`, computed by the server as a `Table`."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloudroute.lab.kube.status import Object


@dataclass(frozen=True)
class Column:
    """One column. `priority` 1 shows with `-o wide` only."""

    name: str
    cell: Callable[[Object], Any]
    type: str = "string"
    priority: int = 0
    description: str = ""


def age(item: Object) -> str:
    """Return the time since the object's creation, in kubectl's format.

    >>> age({"metadata": {}})
    '<unknown>'
    """
    return since(item["metadata"].get("creationTimestamp"))


def since(timestamp: str | None) -> str:
    """Return the time since an RFC 3339 timestamp, in kubectl's format."""
    if not timestamp:
        return "<unknown>"
    seconds = int((datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(timestamp)).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    return f"{hours}h" if hours < 48 else f"{days}d"


def json_path(path: str) -> Callable[[Object], Any]:
    """Return a function for the first value that a simple JSONPath selects, as the API server does; None without one.

    >>> json_path(".spec.subnets[*].id")({"spec": {"subnets": [{"id": "subnet-1"}, {"id": "subnet-2"}]}})
    'subnet-1'
    """
    steps = re.findall(r"\.([\w/-]+)|\['([^']+)'\]|(\[\*\])", path)

    def cell(item: Object) -> Any:
        found: list[Any] = [item]
        for name, quoted, every in steps:
            if every:
                found = [element for value in found if isinstance(value, list) for element in value]
            else:
                key = name or quoted
                found = [value[key] for value in found if isinstance(value, dict) and key in value]
        return found[0] if found else None

    return cell


def custom(definition: Object) -> Column:
    """Build a column from one of a CustomResourceDefinition's additionalPrinterColumns."""
    select, kind = json_path(definition["jsonPath"]), definition["type"]

    def cell(item: Object) -> Any:
        value = select(item)
        if value is None:
            return None
        if kind == "date":
            return since(value)
        if kind == "string":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
        return value

    return Column(
        definition["name"], cell, kind, definition.get("priority", 0), definition.get("description", "Custom column")
    )


NAME = Column("Name", lambda item: item["metadata"]["name"])
AGE = Column("Age", age)
DEFAULT = (NAME, AGE)


def table(columns: Sequence[Column], items: Sequence[Object], metadata: Object, *, whole: bool) -> Object:
    """Build a meta.k8s.io/v1 Table. With `whole` each row carries the full object, else its metadata only."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": "name" if column is NAME else "",
                "description": column.description,
                "priority": column.priority,
            }
            for column in columns
        ],
        "rows": [
            {
                "cells": [column.cell(item) for column in columns],
                "object": item
                if whole
                else {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]},
            }
            for item in items
        ],
    }


def _node_status(node: Object) -> str:
    conditions = node.get("status", {}).get("conditions", [])
    ready = next((item["status"] for item in conditions if item["type"] == "Ready"), "Unknown")
    words = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    return words + (",SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else "")


def _node_roles(node: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(name.removeprefix(prefix) for name in labels if name.startswith(prefix))) or "<none>"


def _node_address(node: Object) -> str:
    addresses = node.get("status", {}).get("addresses", [])
    return next((item["address"] for item in addresses if item["type"] == "InternalIP"), "<none>")


def _involved(event: Object) -> str:
    target = event.get("involvedObject") or event.get("regarding") or {}
    return f"{target.get('kind', '').lower()}/{target.get('name', '')}"


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return since(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime"))


NODES = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _node_roles),
    AGE,
    Column("Version", lambda node: node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")),
    Column("Internal-IP", _node_address, priority=1),
)
PODS = (
    NAME,
    Column("Status", lambda pod: pod.get("status", {}).get("phase", "")),
    AGE,
    Column("IP", lambda pod: pod.get("status", {}).get("podIP", "<none>"), priority=1),
    Column("Node", lambda pod: pod.get("spec", {}).get("nodeName", "<none>"), priority=1),
)
NAMESPACES = (NAME, Column("Status", json_path(".status.phase")), AGE)
SERVICES = (NAME, Column("Cluster-IP", json_path(".spec.clusterIP")), AGE)
LEASES = (NAME, Column("Holder", json_path(".spec.holderIdentity")), AGE)
DEFINITIONS = (NAME, Column("Created At", json_path(".metadata.creationTimestamp")))
EVENTS = (
    Column("Last Seen", _last_seen),
    Column("Type", json_path(".type")),
    Column("Reason", json_path(".reason")),
    Column("Object", _involved),
    Column("Message", lambda event: event.get("message") or event.get("note") or ""),
)
