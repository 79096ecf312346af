"""Discovery documents for kubectl: versions, groups, resources, OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator

from cloudroute.lab.kube.resources import Registry, Resource
from cloudroute.lab.kube.status import Object, no_such_resource

VERSION: Object = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0+cloudroute-lab",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_REVIEWS = ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")


def document(registry: Registry, parts: list[str]) -> Object | None:
    """Return the document at a path, split at its slashes; None for any other path."""
    match parts:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*pair) for pair in _groups(registry)]}
        case ["api", "v1"]:
            return _resource_list(registry, "", "v1")
        case ["apis", group]:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, _version(registry, group))}
        case ["apis", group, version]:
            return _resource_list(registry, group, version)
        case ["openapi", "v3"]:
            return _openapi_index(registry)
        case ["openapi", "v3", "api", "v1"]:
            return _openapi(registry, "", "v1")
        case ["openapi", "v3", "apis", group, version]:
            return _openapi(registry, group, version)
    return None


def _groups(registry: Registry) -> list[tuple[str, str]]:
    found = {(resource.group, resource.version) for resource in registry if resource.group}
    return sorted(found | {_REVIEWS[:2]})


def _version(registry: Registry, group: str) -> str:
    for name, version in _groups(registry):
        if name == group:
            return version
    raise no_such_resource()


def _group(name: str, version: str) -> Object:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _resource_list(registry: Registry, group: str, version: str) -> Object:
    resources = list(_entries(registry, group, version))
    if not resources:
        raise no_such_resource()
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _entries(registry: Registry, group: str, version: str) -> Iterator[Object]:
    for resource in registry:
        if (resource.group, resource.version) != (group, version):
            continue
        entry = {"namespaced": resource.namespaced, "kind": resource.kind}
        yield {
            **entry,
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "verbs": _VERBS,
            "shortNames": list(resource.short_names),
        }
        if resource.status:
            name = f"{resource.plural}/status"
            yield {**entry, "name": name, "singularName": "", "verbs": ["get", "patch", "update"]}
    if (group, version) == _REVIEWS[:2]:
        yield {"namespaced": False, "kind": _REVIEWS[3], "name": _REVIEWS[2], "singularName": "", "verbs": ["create"]}


def _openapi_index(registry: Registry) -> Object:
    prefixes = {_prefix(resource.group, resource.version) for resource in registry}
    return {"paths": {prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}"} for prefix in sorted(prefixes)}}


def _prefix(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _openapi(registry: Registry, group: str, version: str) -> Object:
    """Return enough OpenAPI for kubectl: the kinds that take a patch with dryRun and fieldValidation. No schemas."""
    paths = {}
    for resource in registry:
        if (resource.group, resource.version) == (group, version):
            paths[_object_path(resource)] = {
                "patch": {
                    "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": resource.kind},
                    "parameters": [{"name": name, "in": "query"} for name in ("dryRun", "fieldValidation")],
                    "responses": {},
                }
            }
    info = {"title": "cloudroute lab", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _object_path(resource: Resource) -> str:
    namespace = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"/{_prefix(resource.group, resource.version)}{namespace}/{resource.plural}/{{name}}"
