"""Validation and defaults of built-in kinds, as far as cloudroute relies on them.

`normalized` derives fields from others; `problems` lists the errors. Both were measured on a real kube-apiserver, and
the contract tests compare them with one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

from cloudroute.lab.kube.status import Cause, Object, forbidden, invalid_value, required

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_RBAC_NAME = re.compile(r"[^/%]+")
_LABEL_NAME = re.compile(r"([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]*[A-Za-z0-9])?)?")


def normalized(plural: str, item: Object) -> Object:
    """Return the object with the fields that a real server derives from others."""
    if plural == "nodes":
        return _with_both_pod_cidrs(item)
    return item


def problems(plural: str, group: str, new: Object, old: Object | None) -> list[Cause]:
    """Return every invalid field of `new`; `old` is the object it replaces, None for a create."""
    checks: Mapping[str, Callable[[Object, Object | None], Iterator[Cause]]] = {"nodes": _node, "leases": _lease}
    found = list(_metadata(new, group))
    if plural in checks:
        found += checks[plural](new, old)
    if plural == "events" and group:
        found += _event(new, old)
    return found


def _metadata(item: Object, group: str) -> Iterator[Cause]:
    metadata = item["metadata"]
    name_pattern = _RBAC_NAME if group.startswith("rbac.") else _NAME
    if not metadata.get("name"):
        yield required("metadata.name", "name or generateName is required")
    elif not name_pattern.fullmatch(metadata["name"]) or len(metadata["name"]) > 253:
        yield invalid_value("metadata.name", metadata["name"], "a lowercase RFC 1123 subdomain is expected")
    for name, value in (metadata.get("labels") or {}).items():
        if not _LABEL_NAME.fullmatch(name):
            yield invalid_value("metadata.labels", name, "not a label's name")
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            yield invalid_value("metadata.labels", value, "a label's value has at most 63 letters, digits, -, _ and .")
    for name, value in (metadata.get("annotations") or {}).items():
        if not isinstance(value, str):
            yield invalid_value(f"metadata.annotations.{name}", value, "must be a string")


def _with_both_pod_cidrs(node: Object) -> Object:
    spec = node.get("spec") or {}
    single, several = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if single and (not several or several[0] != single):
        # podCIDR wins. So a patch of podCIDRs alone, on a node that has another CIDR, succeeds and changes nothing.
        several = [single]
    filled = {key: value for key, value in spec.items() if key not in ("podCIDR", "podCIDRs")}
    if several:
        filled |= {"podCIDR": several[0], "podCIDRs": several}
    return {**node, "spec": filled}


def _node(new: Object, old: Object | None) -> Iterator[Cause]:
    cidrs = new["spec"].get("podCIDRs", [])
    for index, cidr in enumerate(cidrs):
        if not _is_cidr(cidr):
            yield invalid_value(f"spec.podCIDRs[{index}]", cidr, "must be a valid CIDR value")
    if len({":" in cidr for cidr in cidrs}) < len(cidrs):
        yield invalid_value("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")
    if old is None:
        return
    before = old["spec"]
    if before.get("podCIDRs") and before["podCIDRs"] != cidrs:
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.get("providerID") and before["providerID"] != new["spec"].get("providerID"):
        yield forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _lease(new: Object, _old: Object | None) -> Iterator[Cause]:
    spec = new.get("spec") or {}
    if "leaseDurationSeconds" in spec and spec["leaseDurationSeconds"] <= 0:
        yield invalid_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    for name in ("acquireTime", "renewTime"):
        if not _MICRO_TIME.fullmatch(spec.get(name) or "2000-01-01T00:00:00.000000Z"):
            yield invalid_value(f"spec.{name}", spec[name], "a time with microseconds is expected")
    if "leaseTransitions" in spec and spec["leaseTransitions"] < 0:
        yield invalid_value("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0")


def _event(new: Object, old: Object | None) -> Iterator[Cause]:
    """Check events by the rules of events.k8s.io/v1; they are stored in the fields of the older API."""
    namespace = new.get("involvedObject", {}).get("namespace")
    # Events about cluster-scoped objects are in one of these two namespaces.
    if new["metadata"].get("namespace") not in ((namespace,) if namespace else ("default", "kube-system")):
        yield invalid_value(
            "metadata.namespace", new["metadata"].get("namespace"), "does not match regarding.namespace"
        )
    for stored, shown in _EVENT_REQUIRED.items():
        if not new.get(stored):
            yield required(shown)
    if new.get("type") not in ("Normal", "Warning"):
        yield invalid_value("type", new.get("type"), "has invalid value")
    for stored, limit in (("message", 1024), ("reason", 128), ("action", 128), ("reportingInstance", 128)):
        if len(new.get(stored, "")) > limit:
            yield invalid_value(stored, new[stored], f"can have at most {limit} characters")
    if old is not None:
        for stored in sorted((new.keys() | old.keys()) - {"metadata", "series"}):
            if new.get(stored) != old.get(stored):
                yield invalid_value(stored, new.get(stored), "field is immutable")


_EVENT_REQUIRED = {
    "eventTime": "eventTime",
    "reportingComponent": "reportingController",
    "reportingInstance": "reportingInstance",
    "action": "action",
    "reason": "reason",
}
