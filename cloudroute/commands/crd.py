"""`cloudroute crd`: the CustomResourceDefinitions."""

from __future__ import annotations

from cloudroute import crds
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import write_exactly


def run(invocation: Invocation) -> int:  # noqa: ARG001 - every command takes one
    """Print the definitions as YAML documents."""
    write_exactly(crds.text())
    return 0


COMMAND = Command(
    name="crd",
    summary="print the CustomResourceDefinitions",
    text=(
        "Prints the CustomResourceDefinitions of NodeRoute and RouteTable as YAML, with the schemas that the API "
        "server then enforces. Apply them once per cluster, before the controller starts, and again with each new "
        "version. Nothing is contacted."
    ),
    example="cloudroute crd | kubectl apply -f -",
    run=run,
)
