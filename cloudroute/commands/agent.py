"""`cloudroute agent`: the process on each node that programs its kernel."""

from __future__ import annotations

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import write_lines
from cloudroute.commands.serving import listening, stop_on_signal, tune_malloc
from cloudroute.config import AgentSettings


def run(invocation: Invocation) -> int:
    """Run until a signal comes, or with --once until all is in place."""
    from cloudroute.agent.cleanup import clean  # imported only here: start-up time
    from cloudroute.telemetry import AgentTelemetry

    tune_malloc()
    settings = invocation[AgentSettings]
    kernel = wiring.kernel(settings)
    if settings.cleanup:
        write_lines([str(clean(kernel)) or "nothing of cloudroute is here"])
        kernel.close()
        return 0
    telemetry = AgentTelemetry(kernel.peer_bytes, transit=kernel.transit_packets)
    with listening(settings.listen):
        telemetry.serve(*settings.listen)
    agent = wiring.agent(settings, kernel, telemetry)
    stop_on_signal(agent.stop)
    agent.run()
    return 0


COMMAND = Command(
    name="agent",
    summary="program this node's kernel: a path to every other node's pods",
    text=(
        "Watches the NodeRoutes and RouteTables, and keeps this machine's kernel in line: the VXLAN device cr0, "
        "for each other node one neighbour, FDB entry, nexthop and route, and the nftables table "
        "`inet cloudroute` that masquerades packets whose answers would find no way back. When all is in place it "
        "writes the CNI configuration, and the node becomes Ready. Changes by others are repaired at once; objects of "
        "others are never touched. SIGTERM ends the process and leaves the kernel as it is, so that pods go on and the "
        "next agent takes over; the NodeRoute's status says so, and the controller keeps the routes that this node "
        "still uses. --cleanup removes all of it. It runs as root and needs of that NET_ADMIN alone, with a /proc/sys "
        "that it can write or the node's /proc/sys/net at /host/proc/sys/net, and no access to AWS."
    ),
    example=(
        "cloudroute agent --node-name $(hostname) --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config\n"
        "cloudroute agent --cleanup"
    ),
    run=run,
    kinds=(AgentSettings,),
)
