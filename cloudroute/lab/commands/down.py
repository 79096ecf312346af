"""`cloudroute lab down`: ends a lab of hosts, also one whose daemon has crashed."""

from __future__ import annotations

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import write_lines
from cloudroute.lab.commands.hosts import LabName, demand_root


def run(invocation: Invocation) -> int:
    """Ask the daemon to end the lab; without a daemon, remove the leftovers."""
    demand_root()
    from cloudroute.lab.hosts.ending import end

    write_lines(end(invocation[LabName].name))
    return 0


COMMAND = Command(
    name="lab down",
    summary="end a lab of hosts, and remove what a crashed one has left",
    text=(
        "The daemon ends its agents and controllers and removes the namespaces. If it has died, was killed or does not "
        "answer, its processes, namespaces and files are found by the lab's name and removed. Ending what is not there "
        "is no failure."
    ),
    example="sudo cloudroute lab down\nsudo cloudroute lab down --name other",
    run=run,
    kinds=(LabName,),
)
