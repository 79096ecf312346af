"""The cause of each loss: it is excused only where a fault had sabotaged a host at one of its ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

EXCUSED_SECONDS = 3.0
"""An agent repairs within two; what a glance each second finds may take one more."""
AROUND_SECONDS = 1.0
"""Longest time between a fault and a loss that is counted as its effect."""


@dataclass(slots=True)
class Loss:
    """Packets of one flow that were sent between two moments (monotonic seconds) and never came."""

    source: str
    target: str
    family: str
    path: str
    since: float
    until: float
    packets: int

    @property
    def ends(self) -> tuple[str, str]:
        """The hosts."""
        return self.source, self.target


@dataclass(slots=True)
class Incident:
    """A fault as it came: monotonic seconds. `sabotaged` names a host whose packets may be lost for a moment."""

    episode: int
    what: str
    began: float
    sabotaged: str = ""
    ended: float = float("inf")
    converged: float = float("inf")


@dataclass(slots=True)
class Losses:
    """Losses by verdict."""

    excused: dict[int, list[Loss]] = field(default_factory=dict)
    """By the index of the incident."""
    wrong: list[tuple[Loss, list[Incident]]] = field(default_factory=list)
    """With the faults around each; none where all was calm."""

    @property
    def sabotaged_packets(self) -> int:
        """Lost by sabotage."""
        return sum(loss.packets for losses in self.excused.values() for loss in losses)

    @property
    def wrong_packets(self) -> int:
        """Lost for no good reason."""
        return sum(loss.packets for loss, _ in self.wrong)


def attribute(losses: Sequence[Loss], incidents: Sequence[Incident]) -> Losses:
    """Lay each loss at somebody's door."""
    judged = Losses()
    for loss in losses:
        if loss.packets <= 0:
            continue
        culprit = next((i for i, incident in enumerate(incidents) if _excuses(incident, loss)), None)
        if culprit is None:
            judged.wrong.append((loss, [incident for incident in incidents if _around(incident, loss)]))
        else:
            judged.excused.setdefault(culprit, []).append(loss)
    return judged


def sentences(judged: Losses, start: float) -> list[str]:
    """Describe the losses without excuse, by the faults around them; times are seconds since `start`."""
    by_blame: dict[str, list[Loss]] = {}
    for loss, around in judged.wrong:
        blame = " and ".join(f"{incident.what} (episode {incident.episode})" for incident in around)
        by_blame.setdefault(blame or "no fault: all was calm", []).append(loss)
    return [_sentence(blame, losses, start) for blame, losses in by_blame.items()]


def duration(losses: Sequence[Loss]) -> float:
    """Seconds from the first packet that may be lost to the last: as exact as looks are close together."""
    return max(loss.until for loss in losses) - min(loss.since for loss in losses)


def _sentence(blame: str, losses: Sequence[Loss], start: float) -> str:
    packets = sum(loss.packets for loss in losses)
    flows = sorted({f"{loss.source} to {loss.target} ({loss.family}, {loss.path})" for loss in losses})
    more = f" and {len(flows) - 4} flows more" if len(flows) > 4 else ""
    since, until = min(loss.since for loss in losses) - start, max(loss.until for loss in losses) - start
    what = f"{packets} packet{'s' * (packets != 1)}"
    return f"{what} lost between {since:.1f} and {until:.1f} s, around {blame}: {', '.join(flows[:4])}{more}"


def _excuses(incident: Incident, loss: Loss) -> bool:
    if incident.sabotaged not in loss.ends:
        return False
    return incident.began <= loss.until and loss.since <= incident.began + EXCUSED_SECONDS


def _around(incident: Incident, loss: Loss) -> bool:
    return incident.began - AROUND_SECONDS <= loss.until and loss.since <= incident.converged + AROUND_SECONDS
