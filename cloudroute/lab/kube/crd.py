"""CustomResourceDefinitions: their validation, the fields that the API server adds, and the resources they define."""

from __future__ import annotations

from collections.abc import Iterator

from cloudroute.lab.kube import columns
from cloudroute.lab.kube.columns import AGE, NAME
from cloudroute.lab.kube.resources import Resource
from cloudroute.lab.kube.schema import Schema, unsupported
from cloudroute.lab.kube.status import Cause, Object, invalid_value, required

STORAGE = "customresourcedefinitions.apiextensions.k8s.io"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer that holds a deleted definition until its objects are gone."""


def problems(definition: Object) -> Iterator[Cause]:
    """Return the errors of a definition, schemas that this API server can't evaluate included."""
    spec = definition.get("spec") or {}
    for name in ("group", "names", "scope", "versions"):
        if not spec.get(name):
            yield required(f"spec.{name}")
            return
    name, expected = definition["metadata"].get("name"), f"{spec['names']['plural']}.{spec['group']}"
    if name != expected:
        yield invalid_value("metadata.name", name, f'must be spec.names.plural+"."+spec.group: {expected}')
    for index, version in enumerate(spec["versions"]):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = version.get("schema", {}).get("openAPIV3Schema")
        if schema is None:
            yield required(path, "schemas are required")
        else:
            yield from unsupported(schema, path)


def established(definition: Object, now: str) -> Object:
    """Return the definition with the status that a real server's controllers give it within a second."""
    spec = definition["spec"]
    names = {"singular": spec["names"]["kind"].lower(), "listKind": f"{spec['names']['kind']}List", **spec["names"]}
    old = {item["type"]: item for item in definition.get("status", {}).get("conditions", [])}
    conditions = [
        old.get(kind)
        or {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
        for kind, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    status = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
    return {**definition, "spec": {**spec, "names": names}, "status": status}


def resources(definition: Object) -> tuple[Resource, ...]:
    """Return the resources of a definition: one for each served version."""
    spec = definition["spec"]
    return tuple(
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=spec["names"]["plural"],
            kind=spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
            status="status" in version.get("subresources", {}),
            short_names=tuple(spec["names"].get("shortNames", ())),
            columns=(NAME, *map(columns.custom, version["additionalPrinterColumns"]))
            if version.get("additionalPrinterColumns")
            else (NAME, AGE),
            needs_version=True,
            counts_generations=True,
            custom=True,
            schema=Schema(version["schema"]["openAPIV3Schema"]),
        )
        for version in spec["versions"]
        if version.get("served")
    )
