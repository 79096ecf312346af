"""`cloudroute lab status`: the parts of a lab of hosts, and their state."""

from __future__ import annotations

from typing import Any

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import Table, write_result
from cloudroute.config import OutputSettings
from cloudroute.lab.commands.hosts import LabName, demand_root


def run(invocation: Invocation) -> int:
    """Ask the daemon for its status and print it."""
    demand_root()
    from cloudroute.lab.hosts import channel

    status = channel.ask(invocation[LabName].name, {"do": "status"})
    write_result(invocation[OutputSettings].output, status, [_hosts(status), _pods(status), _tables(status)])
    return 0


def _hosts(status: dict[str, Any]) -> Table:
    rows = [
        (host["name"], host["zone"], ",".join(host["addresses"]), host["path"], host["agent"], host["instanceID"])
        for host in status["hosts"]
    ]
    rows += [(o["name"], o["zone"], ",".join(o["addresses"]), "", "", "") for o in status["others"]]
    return Table(("HOST", "ZONE", "ADDRESSES", "PATH", "AGENT", "INSTANCE"), rows)


def _pods(status: dict[str, Any]) -> Table:
    rows = [
        (f"{host['name']}/{pod['name']}", ",".join(pod["addresses"]), pod["namespace"])
        for host in status["hosts"]
        for pod in host["pods"]
    ]
    return Table(("POD", "ADDRESSES", "NAMESPACE"), rows)


def _tables(status: dict[str, Any]) -> Table:
    rows = [
        (table["id"], table["zone"], *(f"{table[family]}/{table['limit']}" for family in ("ipv4", "ipv6")))
        for table in status["tables"]
    ]
    notes = (
        f"controller: {status['controller']}; API server: {status['api']}",
        f"kubeconfig: {status['kubeconfig']}",
        *filter(None, (status["trouble"],)),
    )
    return Table(("ROUTE-TABLE", "ZONE", "IPV4", "IPV6"), rows, notes)


COMMAND = Command(
    name="lab status",
    summary="show the hosts and pods of a lab, their paths, and how full its route tables are",
    text=(
        "PATH is what a host's agent says in its NodeRoute: native, direct, partial or overlay. AGENT is running, "
        "frozen or stopped. What EC2 says of a route table is shown as entries against the limit, in each family."
    ),
    example="sudo cloudroute lab status\nsudo cloudroute lab status -o json | jq '.hosts[] | {name, path}'",
    run=run,
    kinds=(LabName, OutputSettings),
)
