"""The report of a run, for a bug report: all that tells why a check failed, as JSON values."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from cloudroute import __version__
from cloudroute.adapters.kube.project import node_route_spec
from cloudroute.core.explain.doctor.facts import AwsFacts
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.types import RouteTableObject
from cloudroute.verify.run import Verdict


def contents(verdict: Verdict) -> dict[str, Any]:
    """Return the report, with nothing masked yet."""
    facts = verdict.diagnosis.facts if verdict.diagnosis else None
    findings = verdict.diagnosis.findings if verdict.diagnosis else ()
    return {
        "versions": {
            "cloudroute": __version__,
            "kubernetes": _known(facts.kubernetes.version) if facts else "",
            "image": verdict.image,
            "here": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        },
        "sample": verdict.sample._asdict(),
        "checks": [outcome.as_json() for outcome in verdict.outcomes],
        "answers": [
            {"name": one.name, "from": one.source, "to": one.target, "family": one.family, **one.answer}
            for one in verdict.outcomes
            if one.result == "failed"
        ],
        "nodeRoutes": {
            name: {"spec": node_route_spec(route.spec), "status": route.status}
            for name, route in verdict.cluster.routes.items()
        },
        "routeTables": [_table(table) for table in verdict.cluster.tables.values()],
        "ec2": _ec2(facts.aws) if facts else "",
        "doctor": [finding._asdict() for finding in findings],
        "kernels": verdict.states,
    }


def _table(table: RouteTableObject) -> dict[str, Any]:
    return {
        "id": table.id,
        "subnets": [f"{subnet.id} {subnet.zone} {' '.join(map(str, subnet.cidrs))}" for subnet in table.subnets],
        "families": {
            family: {"limit": use.limit, "learnedLimit": use.learned_limit, "used": use.used, "ours": use.ours}
            | {"gateways": {str(one.destination): one.node for one in use.gateways}}
            for family, use in table.families.items()
        },
    }


def _ec2(aws: AwsFacts) -> dict[str, Any]:
    """Return the nodes' ENIs and the route tables as EC2 shows them, or why it does not."""
    instances, tables = aws.instances, aws.tables
    return {
        "interfaces": instances.why
        if isinstance(instances, Unknown)
        else [asdict(interface) for instance in instances.values() for interface in instance.interfaces],
        "routes": tables.why
        if isinstance(tables, Unknown)
        else {
            table.id: {str(one.destination): f"{one.target}{' blackhole' * one.blackhole}" for one in table}
            for table in tables.values()
        },
    }


def _known(fact: str | Unknown) -> str:
    return fact.why if isinstance(fact, Unknown) else fact
