"""`cloudroute cleanup`: removes everything of cloudroute from EC2 and Kubernetes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.controller import run_process
from cloudroute.commands.output import Table, write_result
from cloudroute.config import ControllerSettings, OutputSettings, setting
from cloudroute.config.values import switch
from cloudroute.core.cluster.leftovers import delete_command, owned_routes, unclear_routes
from cloudroute.types import Cidr, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupOptions:
    """Options that are flags only: an environment variable or a file must not confirm a removal by accident."""

    yes: bool = setting(
        switch("true", "false"), "Cleanup", "Do it; without this flag it is only listed.", default=False, bare="true"
    )


def run(invocation: Invocation) -> int:
    """List the routes and NodeRoutes of cloudroute, or remove them."""
    settings = invocation[ControllerSettings]
    if invocation[CleanupOptions].yes:
        return run_process(dataclasses.replace(settings, once=True), leave=True)
    snapshot, decision = wiring.look(settings, leave=True)
    routes = [_row(*one) for one in owned_routes(decision.uses)]
    unclear = [
        {**_row(*one), "command": delete_command(*one[:2])} for one in unclear_routes(decision.uses, decision.policy)
    ]
    node_routes = sorted(snapshot.node_routes)
    write_result(
        invocation[OutputSettings].output,
        {"routes": routes, "nodeRoutes": node_routes, "unclear": unclear},
        [
            Table(
                ("TABLE", "DESTINATION", "TARGET"),
                [(str(r["table"]), str(r["destination"]), str(r["target"])) for r in routes],
                (
                    f"{len(routes)} routes and {len(node_routes)} NodeRoutes would be removed; --yes does it",
                    *[
                        f"a former gateway's or somebody else's (no RouteTable says): {one['destination']} "
                        f"in {one['table']} to {one['target']} stays; if it is yours: {one['command']}"
                        for one in unclear
                    ],
                ),
            )
        ],
    )
    return 0


def _row(table_id: str, destination: Cidr, route: Route) -> dict[str, str | bool]:
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
        "CIDRs and source/dest checks. Exits with 1 when something could not be removed, or it was stopped before the "
        "end."
    ),
    example=(
        "cloudroute cleanup --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config\n"
        "cloudroute cleanup --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config --yes"
    ),
    run=run,
    kinds=(ControllerSettings, OutputSettings, CleanupOptions),
    required=("cluster_cidr",),
)
