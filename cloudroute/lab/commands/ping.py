"""`cloudroute lab ping SRC DST`: pings in both families, and names the path of the packets."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import Any

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import Table, write_result
from cloudroute.config import OutputSettings, setting
from cloudroute.config.values import whole
from cloudroute.errors import CloudrouteError
from cloudroute.lab.commands.hosts import LabName, Place, demand_root, locate

INTERVAL_SECONDS = 0.1
WAIT_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPingOptions:
    """Options that are flags only, without an environment variable or a key in the file."""

    count: int = setting(whole(1, 100_000), "Ping", "How many packets to each address.", default=10)


def run(invocation: Invocation) -> int:
    """Ping each address of DST from SRC. Return 1 when a packet was lost."""
    demand_root()
    from cloudroute.lab.hosts import channel

    if shutil.which("ping") is None:
        raise CloudrouteError("ping is missing: install iputils")
    name, count = invocation[LabName].name, invocation[LabPingOptions].count
    status = channel.ask(name, {"do": "status"})
    source, target = (locate(word, status) for word in invocation.words)
    path = {"path": None, "reason": ""}
    if source.host and target.host:
        path = channel.ask(name, {"do": "path", "source": source.host, "target": target.host})
    results = [_ping(source, address, count) for address in target.addresses]
    data = {"source": source.words, "destination": target.words, **path, "results": results}
    rows = [
        (r["address"], str(r["sent"]), str(r["received"]), f"{r['lossPercent']:g}%", _milliseconds(r)) for r in results
    ]
    notes = [f"path: {path['path']}, because {path['reason']}"] if path["path"] else []
    table = Table(("ADDRESS", "SENT", "RECEIVED", "LOSS", "AVERAGE"), rows, notes)
    write_result(invocation[OutputSettings].output, data, [table])
    return 1 if any(result["received"] < result["sent"] for result in results) else 0


def _milliseconds(result: dict[str, Any]) -> str:
    return "" if result["averageMs"] is None else f"{result['averageMs']:.3f} ms"


def _ping(source: Place, address: str, count: int) -> dict[str, Any]:
    from cloudroute.lab.hosts.netns import Namespace

    said = Namespace(source.namespace).run(
        *f"ping -n -q -i {INTERVAL_SECONDS:g} -W {WAIT_SECONDS} -c {count} {address}".split(),
        check=False,
        timeout=count * INTERVAL_SECONDS * 2 + WAIT_SECONDS + 30,
    )
    counted = re.search(r"(\d+) packets transmitted, (\d+)", said)
    # ping prints no counts if it could not send at all: no route, or no address of that family.
    sent, received = (int(counted[1]), int(counted[2])) if counted else (count, 0)
    average = re.search(r"= [\d.]+/([\d.]+)/", said)
    return {
        "address": address,
        "sent": sent,
        "received": received,
        "lossPercent": round(100 * (sent - received) / sent, 2),
        "averageMs": float(average[1]) if average else None,
    }


COMMAND = Command(
    name="lab ping",
    summary="ping from one host or pod of a lab to another, and say which path the packets take",
    text=(
        "SRC and DST are hosts or pods, as `lab status` shows them: node-1, node-1/a, internet. Every address of DST "
        "is pinged from SRC, with real packets in both families. The path is what NodeRoutes say of the two hosts. The "
        "exit code is 1 when a packet was lost."
    ),
    example="sudo cloudroute lab ping node-1/a node-6/b --count 20\nsudo cloudroute lab ping node-1/a internet -o json",
    run=run,
    kinds=(LabName, LabPingOptions, OutputSettings),
    words=("SRC", "DST"),
)
