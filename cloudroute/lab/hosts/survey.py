"""The parts of a lab and their state at one moment: for `lab status` and `lab ping`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from cloudroute.adapters.kube import project
from cloudroute.core.paths import explain
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.nodes import TROUBLE
from cloudroute.lab.kube import Object

CONNECT_SECONDS = 1.0


def survey(lab: HostLab) -> dict[str, Any]:
    """Return everything as JSON values. Parts that can't be read, as with the API server stopped, are empty."""
    routes = {route["metadata"]["name"]: route for route in _listed(lab, "noderoutes")}
    internet = lab.internet
    others = [(vm.name, vm.zone, vm.namespace.name, vm.addresses) for vm in list(lab.vms.values())]
    return {
        "name": lab.name,
        "kubeconfig": str(lab.kubeconfig),
        "controller": _controller(lab),
        "api": "running" if _answers(lab.kubeconfig) else "stopped",
        "trouble": lab.net.trouble,
        "hosts": [_host(lab, host, routes.get(host.name, {})) for host in list(lab.hosts.values())],
        "others": [
            *({"name": name, "zone": _zone(lab, zone), "namespace": namespace, "addresses": list(addresses)}
              for name, zone, namespace, addresses in others),
            {"name": "internet", "zone": "", "namespace": internet.namespace.name,
             "addresses": list(internet.addresses)},
        ],
        "tables": [_table(lab, index) for index in range(len(lab.vpc.zones))],
    }  # fmt: skip


def path(lab: HostLab, source: str, target: str) -> dict[str, str]:
    """Explain the path between two hosts, from their NodeRoutes. Raises CloudrouteError when one has none."""
    specs = {route["metadata"]["name"]: project.node_route(route).spec for route in _listed(lab, "noderoutes")}
    for name in (source, target):
        if name not in specs:
            raise CloudrouteError(f"{name} has no NodeRoute, so that nothing is known of its paths")
    reports = {report.id: report for report in map(project.route_table_object, _listed(lab, "routetables"))}
    found = explain(source, target, specs, reports)
    return {"path": found.path, "reason": found.reason}


def _listed(lab: HostLab, plural: str) -> list[Object]:
    with contextlib.suppress(*TROUBLE):
        return lab.kube.list(plural)
    return []


def _host(lab: HostLab, host: LabHost, route: Mapping[str, Any]) -> dict[str, Any]:
    status = route.get("status", {})
    return {
        "name": host.name,
        "zone": _zone(lab, host.zone),
        "instanceID": host.machine.id,
        "namespace": host.namespace.name,
        "addresses": list(host.addresses),
        "path": status.get("path", ""),
        "ready": status.get("ready", False),
        "agent": _agent(host),
        "pods": [
            {"name": pod.name, "namespace": pod.namespace.name, "addresses": list(pod.addresses)}
            for pod in list(host.pods.values())
        ],
    }


def _agent(host: LabHost) -> str:
    with contextlib.suppress(CloudrouteError, OSError):
        stat = Path(f"/proc/{host.agent_pid}/stat").read_text(encoding="utf-8")
        return "frozen" if stat.rpartition(")")[2].split()[0] == "T" else "running"
    return "stopped"


def _zone(lab: HostLab, index: int) -> str:
    return lab.vpc.zones[index].name


def _controller(lab: HostLab) -> str:
    if not lab.controllers.replicas:
        return "stopped"
    leader = lab.leader()
    return f"{leader.name} leads" if leader else "nobody leads"


def _answers(kubeconfig: Path) -> bool:
    url = urlsplit(yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"])
    try:
        socket.create_connection((url.hostname or "", url.port or 0), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _table(lab: HostLab, zone: int) -> dict[str, Any]:
    table_id = lab.vpc.zones[zone].route_table_id
    entries = lab.aws.scene.routes(table_id)
    v6 = sum(1 for destination in entries if ":" in destination)
    return {
        "id": table_id,
        "zone": _zone(lab, zone),
        "limit": int(str(lab.controllers.flags["--route-limit"])),
        "ipv4": len(entries) - v6,
        "ipv6": v6,
    }
