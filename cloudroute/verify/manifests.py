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
CONTAINER = "probe"
LABEL = "verify.cloudroute.io/role"
NODE_LABEL = "verify.cloudroute.io/pod"
HOST_PORT_ROLE = "host-port"
HOST_PORT_POD = "cloudroute-verify"
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


def pod_name(asker: Asker) -> str:
    """Return the name of a probe's pod.

    >>> pod_name(Asker("ip-10-0-1-2.ec2.internal", "pod"))
    'pod-ip-10-0-1-2.ec2.internal'
    """
    return f"{asker.role}-{asker.node}"


def probe(asker: Asker, image: Image) -> Json:
    """Return a pod that answers on PORT, and in which questions are asked."""
    return _pod(pod_name(asker), NAMESPACE, asker.node, image, {LABEL: asker.role, NODE_LABEL: label(asker)}, {})


def policy() -> Json:
    """Return the NetworkPolicy that lets nothing into the pod whose role is "denied"."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "denied", "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {LABEL: "denied"}}, "policyTypes": ["Ingress"]},
    }


def host_port(node: str, namespace: str, image: Image) -> Json:
    """Return a pod of the agents' namespace, on the network of pods, with a port of its host."""
    manifest = _pod(HOST_PORT_POD, namespace, node, image, {LABEL: HOST_PORT_ROLE}, {"hostPort": HOST_PORT})
    manifest["spec"]["imagePullSecrets"] = list(image.secrets)
    return manifest


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


def _pod(
    name: str, namespace: str, node: str, image: Image, labels: Mapping[str, str], port: Mapping[str, int]
) -> Json:
    ports = [{"containerPort": PORT, "protocol": protocol, **port} for protocol in ("UDP", "TCP")]
    container = {
        "name": CONTAINER,
        "image": image.reference,
        "imagePullPolicy": image.pull_policy,
        "command": ["python3", "-m", "cloudroute.probe", "serve"],
        "ports": ports,
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
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "cloudroute-verify", **labels}},
        "spec": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }
