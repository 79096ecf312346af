"""A controller process of the lab, observed by its log and its HTTP endpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("controller-a", "controller-b")
LEASE_SECONDS, RETRY_SECONDS = 5, 0.5
QUICK_FLAGS = {
    "--settle-seconds": "1",
    "--drain-seconds": "2",
    "--resync-seconds": "5",
    "--lease-duration": str(LEASE_SECONDS),
    "--renew-deadline": "2.5",
    "--retry-period": str(RETRY_SECONDS),
    "--log-format": "json",
    "--listen": "127.0.0.1:0",
}
"""Shorter times than the defaults: otherwise a lab would mostly wait."""


def flatten(flags: Mapping[str, str | Sequence[str]]) -> list[str]:
    """Return flags as command-line arguments; a repeatable flag has several values."""
    pairs = [(flag, [value] if isinstance(value, str) else value) for flag, value in flags.items()]
    return [word for flag, values in pairs for value in values for word in (flag, value)]


def clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure cloudroute, AWS's SDK or Kubernetes clients."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CLOUDROUTE_", "KUBE"))}


def aws_environment(url: str, region: str) -> dict[str, str]:
    """Return the variables by which a process uses the lab's AWS at `url`; its root account takes any access key."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True)
class Replica:
    """A controller process started with `QUICK_FLAGS`, and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls, name: str, log: Path, flags: Mapping[str, str | Sequence[str]], environment: Mapping[str, str]
    ) -> Replica:
        """Start it with these flags, and with `environment` added to the clean one."""
        command = [sys.executable, "-m", "cloudroute", "controller", *flatten(flags)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and flags
                command, env={**clean_environment(), **environment}, stdout=output, stderr=output
            )
        return cls(name, process, log)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def leads(self) -> bool:
        """Whether it has acquired the lease and still runs."""
        return self.alive and any(line.get("did") == "acquired" for line in self.lines())

    @property
    def page(self) -> str:
        """Address of its status page, "" until it listens; probes and metrics are served there too."""
        ports = [line["port"] for line in self.lines() if line.get("event") == "listening"]
        return f"http://127.0.0.1:{ports[0]}/" if ports else ""

    @property
    def ready(self) -> bool:
        """Whether its /readyz passes: it has read the cluster and may lead."""
        if not (page := self.page):
            return False
        try:
            with urllib.request.urlopen(f"{page}readyz", timeout=2) as answer:  # noqa: S310 - our own process
                return bool(answer.status == 200)
        except OSError:
            return False

    def lines(self) -> list[dict[str, Any]]:
        """Complete lines of its log so far; a half-written last line is left out."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]

    def says(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
