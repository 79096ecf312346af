"""The probes' packets that this node forwards, by source, target and the devices by which they come and leave.

    TABLE, a table of nftables of its own, counts and drops nothing; it is removed when stdin ends

A word on stdin asks for the counts: `{"passages": [[source, target, came by, left by, packets], ...]}`. So the way that
a packet took is read from the packet itself: a tunnel, a NIC, or a node in between.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cloudroute.adapters.nft.command import TIMEOUT_SECONDS, search_path
from cloudroute.probe.serve import PORT

TABLE = "cloudroute-verify"
_SETS = {"v4": ("ip", "ipv4_addr"), "v6": ("ip6", "ipv6_addr")}
_MOST = 65536
"""Entries of a set: a thousand times those of a usual run."""


def main() -> int:
    """Run the command; returns the exit code."""
    try:
        _nft(["-f", "-"], _definition())
        try:
            _tell({"counting": True})
            while sys.stdin.readline():
                _tell({"passages": passages()})
        finally:
            _nft(["delete", "table", "inet", TABLE])
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"can't count: {error}\n")
        return 1
    return 0


def passages() -> list[list[Any]]:
    """Return what was counted so far."""
    found = []
    for name in _SETS:
        listing = json.loads(_nft(["-j", "list", "set", "inet", TABLE, name]))
        (one,) = [item["set"] for item in listing["nftables"] if "set" in item]
        for entry in one.get("elem", ()):
            value = entry["elem"]
            found.append([*value["val"]["concat"], value["counter"]["packets"]])
    return found


def _nft(words: list[str], text: str = "") -> str:
    """Run nft. Raises OSError and SubprocessError."""
    environment = {"PATH": search_path(), "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - our own words
        ["/usr/bin/env", "nft", *words],
        input=text, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(done.stderr.strip() or f"nft ended with {done.returncode}")
    return done.stdout


def _definition() -> str:
    """Return the table in nft's language: made anew, should a killed run have left one."""
    lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    rules = []
    for name, (family, kind) in _SETS.items():
        lines.append(f"  set {name} {{ type {kind} . {kind} . ifname . ifname; size {_MOST}; flags dynamic; }}")
        key = f"{family} saddr . {family} daddr . iifname . oifname"
        rules.append(f"    udp dport {PORT} add @{name} {{ {key} counter }}")
    return "\n".join(
        [
            *lines,
            "  chain passing {",
            "    type filter hook forward priority -300; policy accept;",
            *rules,
            "  }",
            "}\n",
        ]
    )


def _tell(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
