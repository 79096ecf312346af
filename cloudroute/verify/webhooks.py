"""`verify --webhooks`: whether the API server reaches pods, as it must to call an admission webhook.

For a pod of each path a ValidatingWebhookConfiguration is made for a moment. It concerns ConfigMaps of verify's own
namespace, which are created as a dry run: nothing of anybody else is ever asked of it.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cloudroute.adapters.kube.pods import collection
from cloudroute.core.verify.model import Asker, Outcome, Result
from cloudroute.errors import ApiError, CloudrouteError, LostRace
from cloudroute.probe.webhook import PORT
from cloudroute.verify.manifests import NAMESPACE, NODE_LABEL, WEBHOOKS, Json, label
from cloudroute.verify.stage import Stage

_HOOK = "verify.cloudroute.io"
"""Name of our webhook, by which a configuration is known as ours."""
_ANSWER_SECONDS = 5
_START_SECONDS = 20.0
_SERVICE_SECONDS = 5.0
"""Longest time until kube-proxy has programmed a new Service: errors after that are the path's."""
_LOOK_SECONDS = 0.3
_EXPECTED = "the API server asks the pod, which refuses"


class _Certificate(NamedTuple):
    """A self-signed certificate and its key, as PEM."""

    cert: str
    key: str


def webhooks(stage: Stage, askers: Mapping[str, Asker]) -> Iterator[Outcome]:
    """Try a pod of each path. `askers`: by the path of its node."""
    if shutil.which("openssl") is None:
        said = "there is no openssl here, which makes the certificate that the API server demands"
        yield from (_outcome(asker, path, "skipped", said) for path, asker in askers.items())
        return
    for path, asker in askers.items():
        yield _try(stage, asker, path)


def _try(stage: Stage, asker: Asker, path: str) -> Outcome:
    service = _service(asker)
    try:
        made = _certificate(f"{service['metadata']['name']}.{NAMESPACE}.svc")
        execution = stage.run(asker, "webhook")
    except (CloudrouteError, OSError, subprocess.SubprocessError) as error:
        return _outcome(asker, path, "skipped", str(error))
    manifest = configuration(service["metadata"]["name"], made.cert)
    try:
        execution.send({**made._asdict(), "name": str(asker)})
        next(execution.lines(_START_SECONDS), None)
        stage.make(service)
        if problem := _register(stage, manifest):
            return _outcome(asker, path, "skipped", problem)
        return _ask(stage, asker, path)
    finally:
        stage.remove(manifest)
        stage.remove(service)
        execution.close()


def _register(stage: Stage, manifest: Json) -> str:
    """Create the configuration; return why it can't be, "" if it is there.

    Only one run at a time has the namespace, so a configuration of verify that is there was left by a killed run.
    """
    try:
        stage.make(manifest)
    except LostRace:
        found = stage.pods.get(f"{collection(manifest)}/{WEBHOOKS}")
        if found and [hook["name"] for hook in found.get("webhooks") or ()] != [_HOOK]:
            return f"there is a ValidatingWebhookConfiguration {WEBHOOKS} already, which was not made by verify"
        stage.pods.delete(manifest)
        stage.make(manifest)
    return ""


def _ask(stage: Stage, asker: Asker, path: str) -> Outcome:
    """Create an object until the pod refuses it.

    The API server asks only once it has taken up the configuration, and in vain until the new Service has its endpoint
    and kube-proxy has programmed it: the last error counts.
    """
    deadline, said = time.monotonic() + _START_SECONDS, "the API server did not ask"
    while time.monotonic() < deadline:
        try:
            stage.pods.create(_object(), dry_run=True)
        except ApiError as error:
            said, deadline = str(error), min(deadline, time.monotonic() + _SERVICE_SECONDS)
            if f"refused by {asker}" in said:
                return _outcome(asker, path, "ok", "it was asked")
        time.sleep(_LOOK_SECONDS)
    return _outcome(asker, path, "failed", said)


def _certificate(name: str) -> _Certificate:
    """Make a certificate for a name, with openssl. Raises OSError and SubprocessError."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = Path(folder, "cert"), Path(folder, "key")
        words = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "1", "-subj", "/CN=cloudroute-verify", "-addext", f"subjectAltName=DNS:{name}",
            "-keyout", str(key), "-out", str(cert),
        ]  # fmt: skip
        subprocess.run(words, capture_output=True, check=True, timeout=_START_SECONDS)  # noqa: S603 - our own words
        return _Certificate(cert.read_text(), key.read_text())


def _service(asker: Asker) -> Json:
    name = f"webhook-{label(asker)}"[:63].rstrip("-")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {NODE_LABEL: label(asker)}, "ports": [{"port": 443, "targetPort": PORT}]},
    }


def configuration(service: str, cert: str) -> Json:
    """Return the ValidatingWebhookConfiguration that leads to a Service of verify's namespace."""
    client = {
        "service": {"namespace": NAMESPACE, "name": service, "port": 443},
        "caBundle": base64.b64encode(cert.encode()).decode(),
    }
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    hook = {
        "name": _HOOK,
        "clientConfig": client,
        "rules": [{**rule, "scope": "Namespaced"}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": _ANSWER_SECONDS,
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": WEBHOOKS},
        "webhooks": [hook],
    }


def _object() -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry-run", "namespace": NAMESPACE}}


def _outcome(asker: Asker, path: str, result: Result, got: str) -> Outcome:
    return Outcome(
        name="webhook",
        source="API server",
        target=str(asker),
        path=path,
        result=result,
        expected=_EXPECTED,
        got=got,
        nodes=(asker.node,),
    )
