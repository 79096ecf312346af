"""What `cloudroute verify` creates: a namespace of its own, pods, Services, a NetworkPolicy.

The pods pass Pod Security "restricted", and nothing of another namespace is touched. One pod, with a port of the host,
is beyond all profiles but "privileged": it runs in the namespace of the agents, which is labelled so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cloudroute.core.verify.model import Asker
from cloudroute.core.verify.questions import HOST_PORT
from cloudroute.probe.serve import PORT

NAMESPACE = "cloudroute-verify"
APP = "cloudroute-verify"
"""The label `app` of all pods."""
CONTAINER = "probe"
LABEL = "verify.cloudroute.io/role"
NODE_LABEL = "verify.cloudroute.io/pod"
HOST_PORT_POD = "cloudroute-verify"
WEBHOOKS = "cloudroute-verify"
"""Name of the ValidatingWebhookConfiguration, which has no namespace."""
_USER = 65532

Json = dict[str, Any]


class Image(NamedTuple):
    """The image of the agents: each sampled node has it."""

    reference: str
    pull_policy: str
    secrets: Sequence[Mapping[str, str]] = ()
    """Only good in the agents' namespace; in ours the image has to be on the node already."""


def namespace() -> Json:
    """Return the namespace; Pod Security admits nothing but "restricted" to it."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def removal(agents_namespace: str) -> Sequence[str]:
    """Return the commands that remove all that a killed run leaves in the API server."""
    return (
        f"kubectl delete validatingwebhookconfiguration {WEBHOOKS} --ignore-not-found",
        f"kubectl delete pod {HOST_PORT_POD} --namespace {agents_namespace} --ignore-not-found",
        f"kubectl delete namespace {NAMESPACE} --ignore-not-found",
    )


class Place(NamedTuple):
    """Namespace and name of a pod."""

    namespace: str
    name: str


def place(asker: Asker, agents_namespace: str) -> Place:
    """Return where the pod of a role is.

    >>> place(Asker("ip-10-0-1-2.ec2.internal", "pod"), "cloudroute")
    Place(namespace='cloudroute-verify', name='pod-ip-10-0-1-2.ec2.internal')
    """
    if asker.role == "host-port":
        return Place(agents_namespace, HOST_PORT_POD)
    return Place(NAMESPACE, f"{asker.role}-{asker.node}")


def probe(asker: Asker, agents_namespace: str, image: Image) -> Json:
    """Return a pod that answers on PORT, and in which questions are asked."""
    where = place(asker, agents_namespace)
    ports = [{"containerPort": PORT, "protocol": protocol} for protocol in ("UDP", "TCP")]
    if asker.role == "host-port":
        ports = [{**port, "hostPort": HOST_PORT} for port in ports]
    labels = {LABEL: asker.role, NODE_LABEL: label(asker)}
    # A Secret is found in the agents' namespace alone.
    secrets = image.secrets if where.namespace == agents_namespace else ()
    return _pod(where, asker.node, image._replace(secrets=secrets), labels, ports)


def policy() -> Json:
    """Return the NetworkPolicy that lets nothing into the pod whose role is "denied"."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "denied", "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {LABEL: "denied"}}, "policyTypes": ["Ingress"]},
    }


def service(asker: Asker) -> Json:
    """Return the Service of one probe, of both families where the cluster has two."""
    ports = [{"name": name.lower(), "protocol": name, "port": PORT} for name in ("UDP", "TCP")]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": label(asker), "namespace": NAMESPACE},
        "spec": {"selector": {NODE_LABEL: label(asker)}, "ipFamilyPolicy": "PreferDualStack", "ports": ports},
    }


def label(asker: Asker) -> str:
    """Return a name that a label and a Service may have: at most 63 characters, no dots."""
    return f"{asker.role}-{asker.node.replace('.', '-')}"[:63].rstrip("-")


def _pod(where: Place, node: str, image: Image, labels: Mapping[str, str], ports: Sequence[Json]) -> Json:
    container = {
        "name": CONTAINER,
        "image": image.reference,
        "imagePullPolicy": image.pull_policy,
        "command": ["python3", "-m", "cloudroute.probe", "serve"],
        "ports": list(ports),
        # The kubelet asks from the node's own address: a pod that is Ready has been reached by its node.
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1, "timeoutSeconds": 2},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**where._asdict(), "labels": {"app": APP, **labels}},
        "spec": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "imagePullSecrets": list(image.secrets),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
