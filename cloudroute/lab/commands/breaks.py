"""`cloudroute lab break WHAT [HOST]`: injects a fault into a lab, or repairs it."""

from __future__ import annotations

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import write_lines
from cloudroute.lab.commands.hosts import LabName, demand_root

WHATS = (
    ("terminate HOST", "its instance ends, and its Node is deleted"),
    ("replace HOST", "the same, and another instance takes its place"),
    ("kill-agent HOST", "SIGKILL; what it has programmed stays"),
    ("stop-agent HOST", "SIGTERM"),
    ("start-agent HOST", "an agent on a host that has none"),
    ("freeze-agent HOST", "SIGSTOP: it is there and does nothing"),
    ("thaw-agent HOST", "SIGCONT"),
    ("delete-device HOST", "the VXLAN device, and with it all that stands on it"),
    ("down-device HOST", "sets the VXLAN device down: the kernel forgets its routes and neighbours"),
    ("drop-carrier HOST", "its NIC has no carrier: the kernel forgets the nexthops and routes by it"),
    ("restore-carrier HOST", "and has it again"),
    ("set-mac HOST", "sets the MAC it has: the kernel forgets the neighbours"),
    ("flush-neighbours HOST", "the permanent neighbours of the VXLAN device"),
    ("delete-routes HOST", "the routes of cloudroute to other hosts' pods"),
    ("flush-nexthops HOST", "its nexthops, and with them those routes"),
    ("flush-nft HOST", "the nftables table of cloudroute"),
    ("strict-rp-filter HOST", "the kernel drops what comes another way than it would go"),
    ("block-tunnel HOST", "a firewall that drops VXLAN in both directions"),
    ("unblock-tunnel HOST", "and is taken away"),
    ("limit N", "entries that every route table may hold from now on"),
    ("kill-controller", "SIGKILL"),
    ("stop-controller", "SIGTERM: it drains and releases its lease"),
    ("start-controller", "after that"),
    ("stop-api", "the Kubernetes API is away"),
    ("start-api", "and is back, with the same objects"),
)
"""Faults and repairs: the arguments, and the effect."""


def run(invocation: Invocation) -> int:
    """Ask the daemon to inject the fault."""
    demand_root()
    from cloudroute.lab.hosts import channel

    what, word = (*invocation.words, "")[:2]
    channel.ask(invocation[LabName].name, {"do": "break", "what": what, "word": word})
    write_lines([f"{' '.join(filter(None, (what, word)))}: done"])
    return 0


COMMAND = Command(
    name="lab break",
    summary="break something in a lab, or mend it, and watch what happens",
    text="WHAT is one of: " + "; ".join(f"{what} ({does})" for what, does in WHATS) + ".",
    example=(
        "sudo cloudroute lab break limit 3\n"
        "sudo cloudroute lab break delete-device node-2; sudo cloudroute lab ping node-1/a node-2/a\n"
        "sudo cloudroute lab break terminate node-3"
    ),
    run=run,
    kinds=(LabName,),
    words=("WHAT", "[HOST|N]"),
)
