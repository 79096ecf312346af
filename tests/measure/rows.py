"""A figure beside its target, the machine it depends on, and how both are printed."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudroute.commands.output import Table, write_result

PEERS_NOTE = (
    "target: at most that. In brackets: times what cloudroute measured.\n"
    "Peers were not measured in this run, but once, with their defaults, on two shared cores, a real kube-apiserver\n"
    "1.34 and moto: gardener = aws-custom-route-controller 0.17 (3 tables), cloud provider = cloud-provider-aws 1.36\n"
    "(1 table). typed models = those of the kubernetes package, one list."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, its target (at most that) and what others need for the same, all in `unit` ("" for a count)."""

    what: str
    measured: float
    target: float
    unit: str = ""
    peers: Mapping[str, float] | None = None
    """Name -> figure, the best one where a range was seen."""

    @property
    def met(self) -> bool:
        """Whether the target is kept."""
        return self.measured <= self.target

    @property
    def ratio(self) -> float | None:
        """Measured / target; None for a target of 0."""
        return self.measured / self.target if self.target else None

    def cells(self) -> tuple[str, ...]:
        """As in the table for people."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        peers = ", ".join(self._compared(name, figure) for name, figure in (self.peers or {}).items())
        verdict = "met" if self.met else "MISSED"
        return (self.what, self._text(self.measured), self._text(self.target), ratio, verdict, peers)

    def data(self) -> dict[str, Any]:
        """As in the JSON."""
        return {
            "what": self.what,
            "measured": self.measured,
            "target": self.target,
            "unit": self.unit,
            "ratio": self.ratio,
            "met": self.met,
            "peers": dict(self.peers or {}),
        }

    def _text(self, figure: float) -> str:
        return f"{figure:.3g} {self.unit}".rstrip()

    def _compared(self, name: str, figure: float) -> str:
        times = f" ({figure / self.measured:.3g}x)" if self.measured and figure else ""
        return f"{name} {self._text(figure)}{times}"


def machine() -> dict[str, Any]:
    """Facts of the machine that the figures depend on."""
    return {
        "day": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def say(text: str) -> None:
    """Tell how far it has come, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_rows(rows: Sequence[Row], facts: Mapping[str, Any], skipped: Sequence[str], form: str) -> None:
    """The table, or JSON, on stdout."""
    if form == "json":
        data = {"machine": dict(facts), "rows": [row.data() for row in rows], "skipped": list(skipped)}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
        return
    sys.stdout.write(f"{facts['cores']} cores (load {facts['load']}), Python {facts['python']}, {facts['system']}\n\n")
    sys.stdout.flush()
    columns = ("WHAT", "MEASURED", "TARGET", "RATIO", "", "PEERS")
    missed = sum(not row.met for row in rows)
    verdict = f"{missed} of {len(rows)} targets missed" if missed else f"all {len(rows)} targets met"
    notes = ("", *(f"not measured: {reason}" for reason in skipped), verdict, *PEERS_NOTE.split("\n"))
    write_result("table", {}, [Table(columns, [row.cells() for row in rows], notes)])
