"""Flags of `cloudroute verify`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cloudroute.config import setting
from cloudroute.config.values import Reader, matching, seconds, switch, whole
from cloudroute.probe.serve import PORT

_GROUP = "Verify"
_ON = switch("true", "false")


def _vpc_host() -> Reader[tuple[str, int]]:
    """Return the reader of an address with or without a port.

    >>> _vpc_host().read("10.0.9.4"), _vpc_host().read("[fd00::4]:53")
    (('10.0.9.4', 8470), ('fd00::4', 53))
    """

    def read(text: str) -> tuple[str, int]:
        host, bracket, rest = text.removeprefix("[").partition("]")
        if not bracket and text.count(":") == 1:
            host, _, rest = text.partition(":")
            rest = f":{rest}"
        try:
            port = int(rest.removeprefix(":")) if rest else PORT
            address = str(ipaddress.ip_address(host))
        except ValueError:
            port, address = 0, ""
        if not 0 < port < 1 << 16:
            raise ValueError("expected an address, with a port or without: 10.0.9.4, 10.0.9.4:8470 or [fd00::4]:8470")
        return address, port

    return Reader(read, "ADDRESS[:PORT]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """Flags of one run; nothing else sets them."""

    nodes: tuple[str, ...] = setting(
        matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Node's name", "NAME"),
        _GROUP,
        "Node to start pods on; else a sample.",
        default=(),
        repeatable=True,
    )
    sample: int = setting(
        whole(1, 50),
        _GROUP,
        "Most nodes of a sample. It covers each zone, subnet, instance family, node group, path and gateway.",
        default=6,
        why="each pair of them is tried: the number of questions grows by its square",
    )
    seconds: float = setting(
        seconds(1, 600), _GROUP, "How long loss and latency are measured.", default=5.0, unit="seconds"
    )
    vpc_host: tuple[tuple[str, int], ...] = setting(
        _vpc_host(),
        _GROUP,
        "Host of the VPC that is no node and answers: run `python3 -m cloudroute.probe serve` there, or its one file.",
        default=(),
        repeatable=True,
    )
    here: bool = setting(
        _ON,
        _GROUP,
        "Start no pods: ask from this pod, which has to be on the cluster's network, nodes and DNS.",
        default=False,
        bare="true",
    )
    webhooks: bool = setting(
        _ON,
        _GROUP,
        "Try whether the API server reaches pods: a webhook for dry-run objects of verify's own namespace.",
        default=False,
        bare="true",
    )
    disrupt: bool = setting(
        _ON,
        _GROUP,
        "Restart an agent, then the leader, under traffic, and count what is lost.",
        default=False,
        bare="true",
    )
    report: str = setting(
        matching(r".+", "a file's path", "FILE"),
        _GROUP,
        "File for a bug report: versions, objects, checks, kernel states, without account ids and keys. It is shown "
        "before it is written.",
        default="",
    )
    keep: bool = setting(_ON, _GROUP, "Leave the pods where they are.", default=False, bare="true")
