"""The enforcer of a node: kube-network-policies as the chart runs it, as a process in the host's namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.images import make_image

IMAGE = "cloudroute.lab/netpol:v1"
"""The enforcer's, on kubelets of the lab."""
TABLE = "kube-network-policies"
"""Its nftables table."""
_STOP_SECONDS = 15.0
_QUEUE = "add table inet t; add chain inet t c { type filter hook forward priority 0; }; add rule inet t c queue"


def make_enforcer_image(program: Path, folder: Path) -> Path:
    """Write an archive of the image IMAGE."""
    return make_image(folder / "netpol.tar", IMAGE, ["/bin/netpol"], program)


def image_values() -> Iterator[str]:
    """The chart's values for IMAGE; and for this kernel, see tests/tools/policies-xtables.go."""
    repository, _, tag = IMAGE.partition(":")
    yield "image.pullPolicy=Never"
    yield f"networkPolicies.image.repository={repository},networkPolicies.image.tag={tag},networkPolicies.image.digest="
    if not kernel_has_queue():
        yield "agent.env[0].name=KNP_XTABLES,agent.env[0].value=yes"


class Enforcer:
    """A node's enforcer; its log is in the host's folder."""

    def __init__(self, host: LabHost, command: Sequence[str]) -> None:
        self.host = host
        self._command = command
        self._log = host.folder / "enforcer.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Start it, with `more` flags."""
        # The released program enforces nothing on such a kernel: see tests/tools/policies-xtables.go.
        by_xtables = {} if kernel_has_queue() else {"KNP_XTABLES": "1"}
        with self._log.open("ab") as log:
            self._process = self.host.namespace.popen(
                (*self._command, *more), env={**os.environ, **by_xtables}, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> None:
        """Send the signal, and wait until it has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(_STOP_SECONDS)

    def enforces(self) -> set[str]:
        """Addresses of the pods about whose packets it decides."""
        listed = self.host.namespace.run("nft", "-j", "list", "sets", check=False)
        sets = [one["set"] for one in json.loads(listed)["nftables"] if "set" in one]
        return {address for one in sets if one["table"] == TABLE for address in one.get("elem", ())}

    def says(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-3000:]


def kernel_has_queue() -> bool:
    """Whether nftables has the queue statement here; nothing is made."""
    return subprocess.run(["nft", "-c", _QUEUE], capture_output=True).returncode == 0
