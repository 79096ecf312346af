"""`cloudroute lab up`: a cluster of hosts with real packets, on this machine alone."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import lab_extra
from cloudroute.commands.output import write_lines
from cloudroute.config import setting
from cloudroute.config.values import switch, whole
from cloudroute.errors import CloudrouteError
from cloudroute.lab.commands.hosts import LabName, demand_root, named

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS = 0.1
MOST_LOG_CHARACTERS = 2000
"""Most characters of a log to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabUpOptions:
    """Options that are flags only, without an environment variable or a key in the file."""

    nodes: int = setting(whole(1, 300), "Lab", "How many hosts, spread over the zones.", default=6)
    zones: int = setting(whole(1, 3), "Lab", "How many zones, each with a subnet and a route table.", default=3)
    route_limit: int = setting(
        whole(2, 1000), "Lab", "Entries that each route table may hold, per family.", default=50, unit="entries"
    )
    pods: int = setting(whole(0, 20), "Lab", "How many pods on each host.", default=2)
    ipv6: bool = setting(switch("on", "off"), "Lab", "Whether there is IPv6 besides IPv4.", default=True)
    real: bool = setting(
        switch("on", "off"),
        "Lab",
        "Real nodes: kubelet and containerd on each, a scheduler, pods in containers. Needs what "
        "tests/tools/kube-assets.sh builds, and Debian's containerd, runc and busybox-static.",
        default=False,
        bare="on",
    )


def run(invocation: Invocation) -> int:
    """Start the daemon, show its progress until all is ready, and print the next commands to try."""
    demand_root()
    with lab_extra():
        from cloudroute.lab.hosts import channel, daemon, ending  # only here: they load moto

    name, options = invocation[LabName].name, invocation[LabUpOptions]
    if _is_up(lambda: channel.ask(name, {"do": "progress"}), channel.NotUp):
        raise CloudrouteError(f"a lab {name} is up already: cloudroute lab status{named(name)} shows it")
    ending.demand_nothing_left(name)
    channel.RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = daemon.Plan(
        name=name,
        nodes=options.nodes,
        zones=options.zones,
        route_limit=options.route_limit,
        pods=options.pods,
        ipv6=options.ipv6,
        real=options.real,
    )
    started = time.monotonic()
    with channel.log_path(name).open("wb") as log:
        # Our own interpreter and module; a session of its own, so that it outlives the terminal.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "cloudroute.lab.hosts.daemon", plan.as_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _follow(process, lambda: channel.ask(name, {"do": "progress"}), name)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    status = channel.ask(name, {"do": "status"})
    write_lines(_next(status, time.monotonic() - started, named(name)))
    return 0


def _is_up(ask: Callable[[], Any], not_up: type[CloudrouteError]) -> bool:
    try:
        ask()
    except not_up:
        return False
    return True


def _follow(process: subprocess.Popen[bytes], ask: Callable[[], Any], name: str) -> None:
    """Print the daemon's progress until it is ready. Raises CloudrouteError, with the log, when it ends before."""
    from cloudroute.lab.hosts import channel

    told = ""
    while True:
        if process.poll() is not None:
            said = channel.log_path(name).read_text(encoding="utf-8", errors="replace").strip()
            more = [f"... (all of it in {channel.log_path(name)})"] if len(said) > MOST_LOG_CHARACTERS else []
            first, *rest = (said[:MOST_LOG_CHARACTERS] or f"exit code {process.returncode}").split("\n")
            raise CloudrouteError(f"the lab did not come up: {first}", *rest, *more)
        try:
            progress = ask()
        except channel.NotUp:
            progress = {"words": told, "ready": False}  # it has not begun to listen, or has just ended
        if progress["words"] != told:
            told = progress["words"]
            write_lines([told])
        if progress["ready"]:
            return
        time.sleep(LOOK_SECONDS)


def _next(status: dict[str, Any], seconds: float, flag: str) -> tuple[str, ...]:
    hosts = status["hosts"]
    first, last = (f"{host['name']}/{host['pods'][0]['name']}" if host["pods"] else host["name"]
                   for host in (hosts[0], hosts[-1]))  # fmt: skip
    return (
        f"The lab is up after {seconds:.0f} s: {len(hosts)} hosts, {sum(len(h['pods']) for h in hosts)} pods.",
        "",
        f"  export KUBECONFIG={status['kubeconfig']}",
        f"  cloudroute lab status{flag}",
        f"  cloudroute lab ping{flag} {first} {last}",
        f"  cloudroute path {hosts[0]['name']} {hosts[-1]['name']} --probe --kubeconfig {status['kubeconfig']}",
        f"  cloudroute lab exec{flag} {hosts[0]['name']} -- ip -d nexthop",
        f"  cloudroute lab break{flag} limit 4",
        f"  cloudroute lab down{flag}",
    )


COMMAND = Command(
    name="lab up",
    summary="start a cluster of hosts with real packets on this machine (Linux, root)",
    text=(
        "Starts a VPC whose hosts are network namespaces: a router forwards by the route tables of the strict EC2 API, "
        "a controller fills them, an agent on each host programs its kernel, and CNI plugins give pods addresses. It "
        "returns when every pod is on the network; a daemon then holds all of it until `lab down`. Nothing outside its "
        "own namespaces is touched."
    ),
    example=(
        "sudo cloudroute lab up --nodes 6 --route-limit 4\n"
        "sudo cloudroute lab status\n"
        "sudo cloudroute lab ping node-1/a node-6/a\n"
        "sudo cloudroute lab down"
    ),
    run=run,
    kinds=(LabName, LabUpOptions),
)
