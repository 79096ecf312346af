"""Answers of each verb: from a parsed request and a body to a status code and bytes. Watches are in `watches.py`."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import yaml

from cloudroute.lab.kube import columns, patches
from cloudroute.lab.kube.apply import server_side_apply
from cloudroute.lab.kube.objects import Objects, Written
from cloudroute.lab.kube.requests import Request
from cloudroute.lab.kube.status import Object, StatusError, bad_request, invalid, required
from cloudroute.lab.kube.store import Item, Key, Store

Answer = tuple[int, bytes]


class Answers:
    """The verbs other than watch."""

    def __init__(self, store: Store, objects: Objects) -> None:
        self._store = store
        self._objects = objects
        self.changes: Counter[tuple[str, str]] = Counter()
        """Number of requests that changed something, by verb and resource."""

    def answer(self, request: Request, body: bytes) -> Answer:
        """Execute a request. Raises StatusError for every refusal."""
        verbs: dict[str, Callable[[Request, bytes], Answer]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        return verbs[request.verb](request, body)

    def _get(self, request: Request, _body: bytes) -> Answer:
        item = self._objects.get(request.resource, request.key)
        if request.wants_table:
            return 200, _table(request, [item], {"resourceVersion": str(item.version)})
        return 200, request.resource.encode(item)

    def _list(self, request: Request, _body: bytes) -> Answer:
        limit, resource = request.number("limit"), request.resource
        if request.query.get("resourceVersionMatch") == "Exact":
            raise bad_request("the embedded API keeps no old versions: resourceVersionMatch=Exact is not supported")
        start: Key | None = None
        if token := request.query.get("continue"):
            version, start = _read_token(token)
            snapshot = self._store.kept(resource.storage, version)
        else:
            snapshot = self._store.snapshot(resource.storage)
        matches = request.predicate()
        found = [item for item in snapshot.after(start) if matches(item.object)]
        metadata: Object = {"resourceVersion": str(snapshot.version)}
        if limit and len(found) > limit:
            self._store.keep(resource.storage, snapshot)
            metadata["continue"] = _token(snapshot.version, found[limit - 1].key)
            if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        if request.wants_table:
            return 200, _table(request, found, metadata)
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version, "metadata": metadata}
        items = b",".join(map(resource.encode_in_list, found))
        return 200, json.dumps(head).encode()[:-1] + b', "items": [' + items + b"]}"

    def _create(self, request: Request, body: bytes) -> Answer:
        given = _decode(request, body)
        return self._answer_write(
            request, self._objects.create(request.resource, request.namespace, given, dry_run=request.dry_run)
        )

    def _update(self, request: Request, body: bytes) -> Answer:
        given = _decode(request, body)
        with self._store.lock:
            missing = request.key not in self._store.collection(request.resource.storage).items
            if missing and request.resource.creates_on_update:
                return self._create(request, body)
            written = self._objects.change(
                request.resource, request.key, lambda _old: given, request.sub, dry_run=request.dry_run, put=True
            )
        return self._answer_write(request, written)

    def _patch(self, request: Request, body: bytes) -> Answer:
        if request.content_type == "application/apply-patch+yaml":
            return self._apply(request, body)
        apply = _PATCHES.get(request.content_type)
        strategic = request.content_type == "application/strategic-merge-patch+json"
        if apply is None or (strategic and request.resource.custom):
            message = f"the body of the request was in an unknown format: {request.content_type}"
            raise StatusError(415, "UnsupportedMediaType", message)
        patch = _json(body)
        written = self._objects.change(
            request.resource, request.key, lambda old: apply(old, patch), request.sub, dry_run=request.dry_run
        )
        return self._answer_write(request, written)

    def _apply(self, request: Request, body: bytes) -> Answer:
        wanted = yaml.load(body, yaml.CSafeLoader)
        manager, force = request.query.get("fieldManager"), request.query.get("force") == "true"
        if not manager:
            raise invalid("PatchOptions.meta.k8s.io", "", [required("fieldManager", "is required for apply patch")])
        _check_kind(request, wanted)
        wanted["metadata"].setdefault("name", request.name)
        merge = patches.merge_patch if request.resource.custom else patches.strategic_merge_patch

        def change(old: Object) -> Object:
            return server_side_apply(old, wanted, manager, merge, force=force)

        with self._store.lock:
            if request.key not in self._store.collection(request.resource.storage).items and not request.sub:
                new = change({})
                written = self._objects.create(request.resource, request.namespace, new, dry_run=request.dry_run)
            else:
                written = self._objects.change(
                    request.resource, request.key, change, request.sub, dry_run=request.dry_run
                )
        return self._answer_write(request, written)

    def _delete(self, request: Request, body: bytes) -> Answer:
        options = _json(body) if body.strip() else {}
        dry_run = request.dry_run or options.get("dryRun") == ["All"]
        item, gone = self._objects.delete(
            request.resource, request.key, options.get("preconditions") or {}, dry_run=dry_run
        )
        if not dry_run:
            self.changes[request.verb, request.target] += 1
        if not gone:
            return 200, request.resource.encode(item)
        details = {"name": request.name, "kind": request.resource.plural, "uid": item.object["metadata"]["uid"]}
        return 200, _bytes(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _delete_collection(self, request: Request, _body: bytes) -> Answer:
        matches = request.predicate()
        with self._store.lock:
            found = [item for item in self._store.snapshot(request.resource.storage).items if matches(item.object)]
            for item in found:
                self._objects.delete(request.resource, item.key, {}, dry_run=request.dry_run)
        self.changes[request.verb, request.target] += bool(found and not request.dry_run)
        head = {"kind": f"{request.resource.kind}List", "apiVersion": request.resource.group_version, "metadata": {}}
        return 200, _bytes({**head, "items": [item.object for item in found]})

    def _answer_write(self, request: Request, written: Written) -> Answer:
        if written.changed and not request.dry_run:
            self.changes[request.verb, request.target] += 1
        return 201 if written.created else 200, request.resource.encode(written.item)


_PROTOBUF = "application/vnd.kubernetes.protobuf"
_PATCHES: dict[str, Callable[[Object, Any], Object]] = {
    "application/json-patch+json": patches.json_patch,
    "application/merge-patch+json": patches.merge_patch,
    "application/strategic-merge-patch+json": patches.strategic_merge_patch,
}


def _table(request: Request, items: list[Item], metadata: Object) -> bytes:
    return _bytes(table(request, [request.resource.shown(item.object) for item in items], metadata))


def table(request: Request, shown: list[Object], metadata: Object) -> Object:
    """Build the Table that kubectl asked for, with the columns of the resource."""
    return columns.table(
        request.resource.columns, shown, metadata, whole=request.query.get("includeObject") == "Object"
    )


def _bytes(document: Object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from error


def _decode(request: Request, body: bytes) -> Object:
    if request.content_type == _PROTOBUF:  # `kubectl create KIND` always sends it
        message = "this API server knows no protobuf: write it with -o yaml --dry-run=client, and kubectl apply -f -"
        raise StatusError(415, "UnsupportedMediaType", message)
    given = _json(body)
    _check_kind(request, given)
    return dict(given)


def _check_kind(request: Request, given: Any) -> None:
    if not isinstance(given, dict) or not isinstance(given.setdefault("metadata", {}), dict):
        raise bad_request("the body is no Kubernetes object")
    expected = {"apiVersion": request.resource.group_version, "kind": request.resource.kind}
    for name, value in expected.items():
        if request.resource.custom and name not in given:
            raise bad_request(f"Object '{name}' is missing")
        if given.setdefault(name, value) != value:
            raise bad_request(f"the object provided has the {name} {given[name]!r}, {value!r} was expected")


def _token(version: int, last: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *last]).encode()).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error) as error:
        raise bad_request(f"continue: Invalid value: {token!r}: not a token of this server") from error
    return int(version), (namespace, name)
