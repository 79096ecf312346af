"""A controller process of the lab, observed by its log and its HTTP endpoints."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Replica:
    """A controller process started with `--log-format json --listen 127.0.0.1:0`, and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

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
