"""`cloudroute lab kube`: the embedded Kubernetes API."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import lab_extra
from cloudroute.commands.output import write_exactly
from cloudroute.commands.serving import EVERY_ADDRESS, listening, stop_on_signal
from cloudroute.config import Address, setting
from cloudroute.config.values import listen_address, matching


@dataclass(frozen=True, slots=True, kw_only=True)
class LabKubeOptions:
    """Options that are flags only: a variable like CLOUDROUTE_KUBECONFIG is meant for the controller beside the lab."""

    listen: Address = setting(  # noqa: RUF009 - setting() makes a dataclass field
        listen_address(), "Lab", "Where to answer; port 0 takes any free one.", default=Address("127.0.0.1", 6443)
    )
    kubeconfig: str = setting(
        matching(r"[^\0\n]+", "a file's path", "FILE"),
        "Lab",
        "Where to write a kubeconfig for it; else into a new temporary file.",
        default="",
    )


def run(invocation: Invocation) -> int:
    """Serve until a signal comes."""
    with lab_extra():
        from cloudroute.lab.kube import KubeApi  # only here: start-up time

    options = invocation[LabKubeOptions]
    stop = threading.Event()
    stop_on_signal(stop)
    with listening(options.listen):
        server = KubeApi().serve(options.listen.host or EVERY_ADDRESS, options.listen.port)
    try:
        path = server.kubeconfig(Path(options.kubeconfig) if options.kubeconfig else None)
        write_exactly(f"export KUBECONFIG={path.absolute()} CLOUDROUTE_KUBECONFIG={path.absolute()}\n")
        stop.wait()
    finally:
        server.close()
    return 0


COMMAND = Command(
    name="lab kube",
    summary="serve a small Kubernetes API, to try things on",
    text=(
        "Serves a Kubernetes API without a cluster behind it: objects, watches, patches, custom resources - enough for "
        "kubectl and for cloudroute. Nothing runs on its nodes, it checks no permissions, and nothing is kept when it "
        "ends with Ctrl-C. It prints the variables to set."
    ),
    example=(
        "cloudroute lab kube --kubeconfig lab.kubeconfig & sleep 1\n"
        "cloudroute crd | kubectl --kubeconfig lab.kubeconfig apply -f -\n"
        "cloudroute status --kubeconfig lab.kubeconfig"
    ),
    run=run,
    kinds=(LabKubeOptions,),
)
