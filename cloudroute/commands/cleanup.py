"""`cloudroute cleanup`: removes everything of cloudroute from EC2 and Kubernetes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.controller import run_process
from cloudroute.commands.output import Table, write_lines, write_result
from cloudroute.config import ControllerSettings, OutputSettings, setting
from cloudroute.config.values import switch
from cloudroute.core.cluster.leftovers import delete_command, owned_routes, unclear_routes
from cloudroute.types import Cidr, Route

if TYPE_CHECKING:
    from cloudroute.core.cluster.planner import Decision

Form = Literal["table", "json", "yaml"]
Row = dict[str, str | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupOptions:
    """Options that are flags only: an environment variable or a file must not confirm a removal by accident."""

    yes: bool = setting(
        switch("true", "false"), "Cleanup", "Do it; without this flag it is only listed.", default=False, bare="true"
    )


def run(invocation: Invocation) -> int:
    """List the routes and NodeRoutes of cloudroute, or remove them and list the routes that may be ours and stay."""
    settings, form = invocation[ControllerSettings], invocation[OutputSettings].output
    if invocation[CleanupOptions].yes:
        return run_process(dataclasses.replace(settings, once=True), leave=True, report=partial(_report, form))
    snapshot, decision = wiring.look(settings, leave=True)
    routes = [_row(*one) for one in owned_routes(decision.uses)]
    unclear = _unclear(decision)
    node_routes = sorted(snapshot.node_routes)
    write_result(
        form,
        {"routes": routes, "nodeRoutes": node_routes, "unclear": unclear},
        [
            Table(
                ("TABLE", "DESTINATION", "TARGET"),
                [(str(r["table"]), str(r["destination"]), str(r["target"])) for r in routes],
                (
                    f"{len(routes)} routes and {len(node_routes)} NodeRoutes would be removed; --yes does it",
                    *map(_sentence, unclear),
                ),
            )
        ],
    )
    return 0


def _report(form: Form, decision: Decision) -> None:
    """Write the routes that a removal has left, since only a person can tell whose they are."""
    unclear = _unclear(decision)
    if form == "table":
        write_lines(map(_sentence, unclear))
    else:
        write_result(form, {"unclear": unclear}, ())


def _unclear(decision: Decision) -> list[Row]:
    return [
        {**_row(*one), "command": delete_command(*one[:2])} for one in unclear_routes(decision.uses, decision.policy)
    ]


def _sentence(unclear: Row) -> str:
    return (
        f"a former gateway's or somebody else's (no RouteTable says): {unclear['destination']} in {unclear['table']} "
        f"to {unclear['target']} stays; if it is yours: {unclear['command']}"
    )


def _row(table_id: str, destination: Cidr, route: Route) -> Row:
    return {
        "table": table_id, "destination": str(destination), "target": route.target, "blackhole": route.blackhole,
    }  # fmt: skip


COMMAND = Command(
    name="cleanup",
    summary="remove everything that cloudroute owns from EC2 and Kubernetes",
    text=(
        "Without --yes it lists every route that is ours and changes nothing. With --yes it takes the lead (stop the "
        "controller first), withdraws the NodeRoutes so that the agents stop using them, waits for --drain-seconds, "
        "then deletes the routes, the NodeRoutes and the RouteTables. Routes of others stay, and so do the nodes' pod "
        "CIDRs and source/dest checks. Both forms name routes of a whole pool that may be a former gateway's and stay, "
        "each with the command that deletes it. Exits with 1 when something could not be removed, or it was stopped "
        "before the end."
    ),
    example=(
        "cloudroute cleanup --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config\n"
        "cloudroute cleanup --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config --yes"
    ),
    run=run,
    kinds=(ControllerSettings, OutputSettings, CleanupOptions),
    required=("cluster_cidr",),
)
