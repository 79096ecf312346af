"""Cluster DNS as EKS installs it: CoreDNS behind the Service kube-dns.

It resolves names of Services by the API server, and passes all others to the server of its node's /etc/resolv.conf, the
VPC's Resolver. tests/tools/dns-assets.sh builds the program, with the plugins of this Corefile alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudroute.lab.hosts.images import make_image
from cloudroute.lab.kube.real import find_assets

DOMAIN = "cluster.local"
ADDRESSES = ("10.96.0.10", "fd00:96::a")
"""The Service's, IPv4 and IPv6: the tenth of each range, as kubeadm and EKS choose it."""
IMAGE = "cloudroute.lab/coredns:1"
LABELS = {"k8s-app": "kube-dns"}
SPACE = "kube-system"
COREFILE = f"""\
.:53 {{
    errors
    ready
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    forward . /etc/resolv.conf
    cache 30
    loadbalance
}}
"""


def make_dns_image(folder: Path) -> Path | None:
    """Write the image's archive into `folder`; None where the program is not built."""
    assets = find_assets(["coredns"])
    entrypoint = ("/bin/coredns", "-conf", "/etc/coredns/Corefile")
    return make_image(folder / "coredns.tar", IMAGE, entrypoint, assets / "coredns") if assets else None


def manifests(replicas: int = 2) -> list[dict[str, Any]]:
    """Return all objects, with the label LABELS."""
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": SPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    ports = [{"name": f"dns-{name}", "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
    service = {
        "clusterIP": ADDRESSES[0],
        "clusterIPs": list(ADDRESSES),
        "ipFamilyPolicy": "RequireDualStack",
        "selector": LABELS,
        "ports": ports,
    }
    return [
        _object("v1", "ServiceAccount", "coredns"),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", "system:coredns", "", rules=rules),
        _object(
            "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "system:coredns", "", roleRef=role, subjects=[subject]
        ),
        _object("v1", "ConfigMap", "coredns", data={"Corefile": COREFILE}),
        _object("apps/v1", "Deployment", "coredns", spec=_deployment(replicas)),
        _object("v1", "Service", "kube-dns", spec=service),
    ]


def _object(api_version: str, kind: str, name: str, namespace: str = SPACE, **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "labels": LABELS} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def _deployment(replicas: int) -> dict[str, Any]:
    container = {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": LABELS}}
    spread = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "affinity": {"podAntiAffinity": spread},
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    return {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
