"""`cloudroute plan`: the changes that the controller would make now."""

from __future__ import annotations

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import Table, write_result
from cloudroute.commands.steps import rows
from cloudroute.config import ControllerSettings, OutputSettings

NOTHING, SOMETHING = 0, 3


def run(invocation: Invocation) -> int:
    """Read once and print the plan. Return 3 if it has steps."""
    _, decision = wiring.look(invocation[ControllerSettings])
    plan = decision.plan
    steps = rows((*plan.steps, *plan.publish), decision.policy.node_mask)
    waits = [wait.what for wait in plan.waits]
    notices = [{"kind": n.kind, "name": n.name, "reason": n.reason, "message": n.message} for n in plan.notices]
    lines = [(step["action"], step["object"], step["node"], step["change"]) for step in steps]
    notes = [] if steps else ["nothing to change"]
    notes += [f"later: {what}" for what in waits]
    notes += [f"{notice['name']}: {notice['message']}" for notice in notices]
    write_result(
        invocation[OutputSettings].output,
        {"steps": steps, "waits": waits, "notices": notices},
        [Table(("ACTION", "OBJECT", "NODE", "CHANGE"), lines, notes)],
    )
    return SOMETHING if steps else NOTHING


COMMAND = Command(
    name="plan",
    summary="show what the controller would change now, and change nothing",
    text=(
        "Reads Kubernetes and EC2 once, as a controller that has just become leader would, and prints each step that "
        "it would take, in its order: pod CIDRs, NodeRoutes, source/dest checks, routes, conditions. Below stand the "
        "steps that have to wait first, and warnings. Nothing is written. Exits with 0 when there is nothing "
        "to change, with 3 when there is something."
    ),
    example="cloudroute plan --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config",
    run=run,
    kinds=(ControllerSettings, OutputSettings),
    required=("cluster_cidr",),
)
