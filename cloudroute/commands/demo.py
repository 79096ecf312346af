"""`cloudroute demo`: a cluster outgrows its route tables, in a minute."""

from __future__ import annotations

from dataclasses import dataclass

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.serving import lab_extra
from cloudroute.config import setting
from cloudroute.config.values import matching


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Flags alone."""

    record: str = setting(
        "",
        matching(r"[^\0\n]+\.svg", "a path that ends in .svg", "FILE.svg"),
        "Demo",
        "Where to save the last picture.",
    )


def run(invocation: Invocation) -> int:
    """Play it. Raises CloudrouteError when something did not settle right."""
    with lab_extra():
        from cloudroute.lab.demo import play  # only here: it loads moto and rich

    play(invocation[DemoOptions].record)
    return 0


COMMAND = Command(
    name="demo",
    summary="watch 120 nodes outgrow their route tables, on this machine alone",
    text=(
        "Starts the strict EC2 API, a Kubernetes API and two controllers on this machine, and lets 120 nodes join "
        "three zones with a route table of 50 entries each. It shows how the tables fill, who goes to the overlay and "
        "why; then it kills the leader, terminates instances and adds a route of somebody else, and ends with a "
        "summary in which every figure was measured. Takes about a minute; needs neither an account nor root nor a "
        "network."
    ),
    example="cloudroute demo\ncloudroute demo --record demo.svg",
    run=run,
    kinds=(DemoOptions,),
)
