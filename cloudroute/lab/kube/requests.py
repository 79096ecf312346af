"""A request as the API sees it: verb, resource and selectors, parsed from method, path and headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from cloudroute.lab.kube import selectors
from cloudroute.lab.kube.resources import Registry, Resource
from cloudroute.lab.kube.selectors import Predicate
from cloudroute.lab.kube.status import Object, StatusError, bad_request, no_such_resource
from cloudroute.lab.kube.store import Key

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a resource."""

    verb: str
    """Verb of RBAC: get, list, watch, create, update, patch, delete, deletecollection."""
    resource: Resource
    namespace: str
    name: str
    sub: str
    """Subresource: "" or "status"."""
    query: Mapping[str, str]
    accept: str
    content_type: str

    @property
    def key(self) -> Key:
        """Key of its object in the store."""
        return self.namespace, self.name

    @property
    def target(self) -> str:
        """Name under which it is counted: nodes, nodes/status."""
        return f"{self.resource.plural}/{self.sub}" if self.sub else self.resource.plural

    @property
    def wants_table(self) -> bool:
        """Whether the answer is to be a Table, as kubectl asks for."""
        return "as=Table" in self.accept

    @property
    def dry_run(self) -> bool:
        """Whether to do everything except storing."""
        return self.query.get("dryRun") == "All"

    def number(self, name: str) -> int:
        """Return a numeric query parameter; 0 when absent."""
        text = self.query.get(name) or "0"
        if not text.isdecimal():
            raise bad_request(f"{name}: Invalid value: {text!r}: a number is expected")
        return int(text)

    def predicate(self) -> Predicate:
        """Return a predicate for the objects of a list or watch. It takes objects as stored."""
        with_labels = selectors.labels(self.query.get("labelSelector", ""))
        with_fields = selectors.fields(self.query.get("fieldSelector", ""), self.resource.selectable)
        resource, namespace, name = self.resource, self.namespace, self.name

        def matches(item: Object) -> bool:
            metadata = item["metadata"]
            return (
                (not namespace or metadata.get("namespace") == namespace)
                and (not name or metadata["name"] == name)
                and with_labels(item)
                and with_fields(resource.shown(item))
            )

        return matches


def split(target: str) -> tuple[list[str], dict[str, str]]:
    """Return the parts of a path and its query."""
    url = urlsplit(target)
    return [unquote(part) for part in url.path.split("/") if part], dict(parse_qsl(url.query, keep_blank_values=True))


def parse(
    registry: Registry, method: str, parts: list[str], query: Mapping[str, str], headers: Mapping[str, str]
) -> Request:
    """Parse a request. Raises StatusError 404 for a path of no resource and 405 for a method it does not have."""
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_resource()
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0]) if rest else None
    plural, name, sub = (*rest, "", "", "")[:3]
    if resource is None or len(rest) > 3 or (sub and not (sub == "status" and resource.status)):
        raise no_such_resource()
    return Request(
        verb=_verb(method, plural, name, query),
        resource=resource,
        namespace=namespace,
        name=name,
        sub=sub,
        query=query,
        accept=headers.get("Accept") or "",
        content_type=(headers.get("Content-Type") or "").partition(";")[0].strip(),
    )


def _verb(method: str, plural: str, name: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method)
    if verb == "get" and query.get("watch") in ("true", "1"):
        return "watch"
    if verb == "get" and not name:
        return "list"
    if verb == "delete" and not name:
        return "deletecollection"
    if verb is None or (verb == "create") == bool(name) or (verb in ("update", "patch") and not name):
        message = "the server does not allow this method on the requested resource"
        raise StatusError(405, "MethodNotAllowed", message, {"kind": plural})
    return verb
