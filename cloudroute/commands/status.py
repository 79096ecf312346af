"""`cloudroute status`: every node with its path, every route table with its use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import Table, write_result
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.paths import node_paths
from cloudroute.types import FAMILIES, Node, NodeRoute, RouteTableObject

if TYPE_CHECKING:
    from cloudroute.commands.warnings import Warned


AGENT = ("ready", "reason", "message", "observedGeneration", "mtu", "paths", "since")
"""Fields of a NodeRoute's status that are shown."""


class NodeStatus(TypedDict):
    """One of `nodes[]`. `path` is None while no NodeRoute says how to reach the node; `problem` then says why.

    `agent` has the agent's words, None where it has not spoken, and `behind`: whether they are of an older NodeRoute.
    """

    name: str
    path: str | None
    podCIDRs: list[str]
    nodeIPs: list[str]
    instanceID: str
    tables: list[str]
    condition: str
    problem: str
    agent: dict[str, Any] | None


class TableStatus(TypedDict):
    """One of `tables[]`: one family of a route table."""

    id: str
    family: str
    limit: int
    learnedLimit: int | None
    used: int
    ours: int
    foreign: int


class GatewayStatus(TypedDict):
    """One of `gateways[]`: a route of a table for a pool or a part of it, and the node that it leads to."""

    destination: str
    table: str
    node: str


def node_statuses(nodes: Mapping[str, Node], routes: Mapping[str, NodeRoute]) -> list[NodeStatus]:
    """Return every node that has a Node or a NodeRoute, by name."""
    paths = node_paths({name: route.spec for name, route in routes.items()})
    return [
        _node_status(name, nodes.get(name), routes.get(name), paths.get(name)) for name in sorted({*nodes, *routes})
    ]


def table_statuses(reports: Mapping[str, RouteTableObject]) -> list[TableStatus]:
    """Return each family of each table, by id."""
    return [
        {
            "id": report.id,
            "family": family,
            "limit": use.limit,
            "learnedLimit": use.learned_limit,
            "used": use.used,
            "ours": use.ours,
            "foreign": use.foreign,
        }
        for _, report in sorted(reports.items())
        for family in FAMILIES
        if (use := report.families.get(family))
    ]


def gateway_statuses(reports: Mapping[str, RouteTableObject]) -> list[GatewayStatus]:
    """Return the aggregates of each table, by its id."""
    return [
        {"destination": str(one.destination), "table": report.id, "node": one.node}
        for _, report in sorted(reports.items())
        for use in report.families.values()
        for one in use.gateways
    ]


def _node_status(name: str, node: Node | None, route: NodeRoute | None, path: str | None) -> NodeStatus:
    cidrs = route.spec.pod_cidrs if route else node.pod_cidrs if node else ()
    return {
        "name": name,
        "path": path,
        "podCIDRs": [str(cidr) for cidr in cidrs],
        "nodeIPs": list(route.spec.node_ips if route else node.node_ips if node else ()),
        "instanceID": route.spec.instance_id if route else node.instance_id if node else "",
        "tables": list(route.spec.native_in) if route else [],
        "condition": node.condition.reason if node and node.condition else "",
        "problem": _problem(node, route),
        "agent": _agent(route) if route and route.status else None,
    }


def _agent(route: NodeRoute) -> dict[str, Any]:
    observed = route.status.get("observedGeneration")
    behind = isinstance(observed, int) and observed < route.generation
    return {**{key: route.status.get(key) for key in AGENT}, "behind": behind}


def _problem(node: Node | None, route: NodeRoute | None) -> str:
    """Return the problem of a node in words; "" without one."""
    if node is None:
        return "the Node is gone; its routes are being drained and removed"
    if node.problem:
        return node.problem
    if node.condition and (node.condition.status == "True" or node.condition.reason == "OverlayFallback"):
        return node.condition.message
    return "" if route else "no NodeRoute yet: is the controller running?"


def run(invocation: Invocation) -> int:
    """Read Kubernetes once and print nodes, tables and warnings."""
    from cloudroute.commands import warnings  # imported only here: it loads the Kubernetes client

    with wiring.observed(invocation[ControllerSettings]) as cluster:
        nodes = node_statuses(cluster.nodes.items(), cluster.node_routes.items())
        reports = cluster.route_table_objects.items()
        tables, gateways = table_statuses(reports), gateway_statuses(reports)
        warned = warnings.read(cluster.transport)
    write_result(
        invocation[OutputSettings].output,
        {"nodes": nodes, "tables": tables, "gateways": gateways, "warnings": warned},
        [_node_table(nodes), _table_table(tables), *_gateway_table(gateways), *_warning_table(warned)],
    )
    return 0


def _node_table(nodes: list[NodeStatus]) -> Table:
    rows = [
        (
            node["name"],
            node["path"] or "",
            _ready(node["agent"]),
            ",".join(node["podCIDRs"]),
            ",".join(node["nodeIPs"]),
            node["instanceID"],
            ",".join(node["tables"]),
        )
        for node in nodes
    ]
    problems = [
        f"{node['name']}: {words}" for node in nodes for words in (node["problem"], _complaint(node["agent"])) if words
    ]
    return Table(("NAME", "PATH", "READY", "POD-CIDRS", "NODE-IPS", "INSTANCE", "TABLES"), rows, problems)


def _ready(agent: dict[str, Any] | None) -> str:
    if agent is None or agent["ready"] is None:
        return ""
    return "no" if not agent["ready"] else "behind" if agent["behind"] else "yes"


def _complaint(agent: dict[str, Any] | None) -> str:
    """Return the agent's own words about its problem; "" without one."""
    if agent is None or (agent["ready"] is not False and not agent["message"]):
        return ""
    words = ": ".join(str(agent[key]) for key in ("reason", "message") if agent[key])
    return f"its agent says {words or 'that it is not ready'}"


def _table_table(tables: list[TableStatus]) -> Table:
    rows = [
        (
            table["id"],
            table["family"],
            str(table["limit"])
            if table["learnedLimit"] is None
            else f"{table['learnedLimit']} (AWS; {table['limit']} set)",
            str(table["used"]),
            str(table["ours"]),
            str(table["foreign"]),
        )
        for table in tables
    ]
    return Table(("ID", "FAMILY", "LIMIT", "USED", "OURS", "FOREIGN"), rows)


def _gateway_table(gateways: list[GatewayStatus]) -> list[Table]:
    rows = [(one["destination"], one["table"], one["node"]) for one in gateways]
    return [Table(("DESTINATION", "TABLE", "GATEWAY"), rows)] if rows else []


def _warning_table(warned: list[Warned]) -> list[Table]:
    rows = [(one["time"], f"{one['kind'].lower()}/{one['name']}", one["reason"], one["message"]) for one in warned]
    return [Table(("WARNED", "OBJECT", "REASON", "MESSAGE"), rows)] if rows else []


COMMAND = Command(
    name="status",
    summary="show each node's path and how full each route table is",
    text=(
        "Reads Nodes, NodeRoutes, RouteTables and Events from Kubernetes, needs no access to AWS, and prints tables. "
        "PATH is native where the node is routed in every table that nodes of other subnets send by, partial where in "
        "some, overlay where in none, direct where all other nodes are on its subnet. READY is what the node's agent "
        "says: yes, no, behind where it has not taken up the latest NodeRoute yet, - where it has said nothing. "
        "TABLES are the route tables with a route to the node. LIMIT, USED, OURS and FOREIGN count entries of one "
        "family. Where there are gateways, GATEWAY is the node that a table sends packets for DESTINATION to, unless "
        "it has a route to the pod's node. Problems of nodes stand below, in words, and last the controller's latest "
        "warnings: refused calls, full tables, routes of others, nodes that lost a route or "
        "wait for their agents."
    ),
    example=(
        "cloudroute status --kubeconfig ~/.kube/config\n"
        """cloudroute status -o json | jq '.nodes[] | select(.path == "overlay") | .name'"""
    ),
    run=run,
    kinds=(ControllerSettings, OutputSettings),
)
