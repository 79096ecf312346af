"""A controller process of the lab, known by its log and by what it serves."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Replica:
    """One controller process that was started with `--log-format json --listen 127.0.0.1:0`, and its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def leads(self) -> bool:
        """Whether it has acquired the lease and still lives."""
        return self.alive and any(line.get("did") == "acquired" for line in self.lines())

    @property
    def page(self) -> str:
        """The address of its status page, "" until it listens; probes and metrics are beside it."""
        ports = [line["port"] for line in self.lines() if line.get("event") == "listening"]
        return f"http://127.0.0.1:{ports[0]}/" if ports else ""

    @property
    def ready(self) -> bool:
        """Whether it has read the cluster and may lead."""
        if not (page := self.page):
            return False
        try:
            with urllib.request.urlopen(f"{page}readyz", timeout=2) as answer:  # noqa: S310 - our own process
                return bool(answer.status == 200)
        except OSError:
            return False

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far; a line that is being written is left out."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]

    def says(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
