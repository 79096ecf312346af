"""`cloudroute lab exec WHERE -- CMD...`: a command inside a host or a pod of a lab."""

from __future__ import annotations

import os
import sys

from cloudroute.commands.command import Command, Invocation
from cloudroute.errors import CloudrouteError
from cloudroute.lab.commands.hosts import LabName, demand_root, locate


def run(invocation: Invocation) -> int:
    """Replace this process by the command, so that input, output, signals and exit code are the command's."""
    demand_root()
    from cloudroute.lab.hosts import channel
    from cloudroute.lab.hosts.netns import Namespace

    where, *command = invocation.words
    place = locate(where, channel.ask(invocation[LabName].name, {"do": "status"}))
    words = Namespace(place.namespace).command(*command)
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606 - the user's own command, inside the lab
    except OSError as error:
        raise CloudrouteError(f"{words[0]}: {error.strerror or error}; install iproute2") from error


COMMAND = Command(
    name="lab exec",
    summary="run a command inside a host or a pod of a lab",
    text=(
        "Runs the command in the network namespace of a host or a pod, as `lab status` names them. Everything but the "
        "network is this machine's. Input, output and exit code are the command's."
    ),
    example=(
        "sudo cloudroute lab exec node-1 -- ip -d route\n"
        "sudo cloudroute lab exec node-1 -- tcpdump -ni cr0\n"
        "sudo cloudroute lab exec node-1/a -- ping -c 3 198.51.100.1"
    ),
    run=run,
    kinds=(LabName,),
    words=("HOST|POD", "-- CMD..."),
)
