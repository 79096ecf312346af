"""`cloudroute demo`: a cluster that outgrows its route tables, in a minute; or one whose packets are all counted."""

from __future__ import annotations

from dataclasses import dataclass

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import lab_extra
from cloudroute.config import setting
from cloudroute.config.values import matching, switch
from cloudroute.lab.commands.hosts import demand_root


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Options that are flags only, without an environment variable or a key in the file."""

    packets: bool = setting(
        switch("on", "off"),
        "Demo",
        "Play the one with real packets between hosts; needs Linux and root.",
        default=False,
        bare="on",
    )
    record: str = setting(
        matching(r"[^\0\n]+\.svg", "a path that ends in .svg", "FILE.svg"),
        "Demo",
        "Where to save the last picture.",
        default="",
    )


def run(invocation: Invocation) -> int:
    """Play the demo. Raises CloudrouteError when the cluster does not reach the expected state."""
    options = invocation[DemoOptions]
    if options.packets:
        demand_root()
    with lab_extra():  # only here: they load moto and rich
        if options.packets:
            from cloudroute.lab.demo.packets import play
        else:
            from cloudroute.lab.demo import play
    play(options.record)
    return 0


COMMAND = Command(
    name="demo",
    summary="watch 120 nodes outgrow their route tables, on this machine alone",
    text=(
        "Starts the strict EC2 API, a Kubernetes API and two controllers on this machine, and lets 120 nodes join "
        "three zones with a route table of 50 entries each. It shows how the tables fill, who goes to the overlay and "
        "why; then it kills the leader, terminates instances and adds a route of somebody else, and ends with a "
        "summary in which every figure was measured. Takes about a minute; needs neither an account nor root nor a "
        "network. With --packets there are six hosts as network namespaces instead, with agents that program real "
        "kernel tables: every pod sends to every other while paths change, a host dies and an agent is killed, and "
        "each packet that is lost is counted."
    ),
    example="cloudroute demo\ncloudroute demo --record demo.svg\nsudo cloudroute demo --packets",
    run=run,
    kinds=(DemoOptions,),
)
