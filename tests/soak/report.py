"""The report of a soak: verdicts with their sentences, tables for people, the same as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

from cloudroute.commands.output import Table
from tests.soak import leaks, losses
from tests.soak.exchange import Exchange
from tests.soak.leaks import Trend
from tests.soak.losses import Incident, Losses
from tests.soak.run import Record

MOST_SHOWN = 8
"""Sentences of one verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, and what speaks against it."""

    claim: str
    against: Sequence[str]
    unknown: bool = False
    """It did not come to be tried."""

    @property
    def good(self) -> bool:
        """Nothing speaks against it."""
        return not self.against

    @property
    def word(self) -> str:
        """For the table."""
        return "not tried" if self.unknown else "yes" if self.good else "NO"


class Report:
    """Of one run."""

    def __init__(self, record: Record, exchange: Exchange) -> None:
        self.record, self.exchange = record, exchange
        self.losses: Losses = losses.attribute(exchange.losses, record.incidents)
        self.trends: list[Trend] = leaks.trends(record.samples)
        self.verdicts = self._verdicts()

    @property
    def good(self) -> bool:
        """Whether nothing speaks against anything."""
        return all(verdict.good for verdict in self.verdicts)

    def _verdicts(self) -> list[Verdict]:
        record, exchange = self.record, self.exchange
        bills = [
            f"{name}: {bill.ec2} writes to EC2 where {bill.ec2_most} were needed, "
            f"{bill.node_routes} of NodeRoutes where {bill.node_routes_most} were"
            for name, bill in record.bills
            if not bill.fair
        ]
        grown = [
            f"{trend.role}: {trend.what} grow by {trend.rate:.1f} an hour, and by {trend.later_rate:.1f} to the end"
            for trend in self.trends
            if trend.leaks
        ]
        tool = [f"the measuring process dropped {exchange.tool_lost} packets"] if exchange.tool_lost else []
        calm = [f"{count} of {what}" for what, count in record.in_calm.items()]
        judged = any(trend.judged for trend in self.trends)
        return [
            Verdict("it went on to its end", [record.trouble] if record.trouble else [], record.interrupted),
            Verdict("no packet was lost but by sabotage", [*losses.sentences(self.losses, record.began), *tool]),
            Verdict("no TCP connection between living pods broke", exchange.broken),
            Verdict("pods kept their addresses", [f"packets came from {one}" for one in sorted(exchange.translated)]),
            Verdict("nothing was written without need", bills),
            Verdict("nothing was written while nothing was to do", calm),
            Verdict("no process leaks", grown, not judged),
            Verdict("nothing is left in any kernel", record.left_in_kernels or [], record.left_in_kernels is None),
            Verdict("every kernel is as its agent should want", record.drift or [], record.drift is None),
            Verdict("the plan has nothing to do", [record.last_plan] if record.last_plan else [],
                    record.last_plan is None),
            Verdict("nothing is left on the machine", record.left_on_machine),
        ]  # fmt: skip

    # --- for programs -----------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Everything. Times are seconds since the traffic began."""
        record, exchange = self.record, self.exchange
        return {
            "seed": record.seed,
            "minutes": record.minutes,
            "seconds": round(record.seconds, 1),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "good": self.good,
            "interrupted": record.interrupted,
            "verdicts": [{"claim": one.claim, "verdict": one.word, "against": list(one.against)}
                         for one in self.verdicts],
            "traffic": {
                "sent": {f"{family} {path}": count for (family, path), count in sorted(exchange.sent.items())},
                "lost": self.losses.wrong_packets,
                "lost_by_sabotage": self.losses.sabotaged_packets,
                "at_death": dict(exchange.at_death),
                "tcp_bytes": exchange.tcp_bytes,
                "tcp_retransmissions": exchange.retransmissions,
                "errors": dict(exchange.errors),
                "path_changes": record.path_changes,
            },
            "incidents": [self._incident(index, one) for index, one in enumerate(record.incidents)],
            "losses": [
                asdict(replace(loss, since=loss.since - record.began, until=loss.until - record.began))
                for loss, _ in self.losses.wrong
            ],
            "writes": {
                "ec2": dict(record.ec2_writes),
                "kubernetes": dict(record.kube_writes),
                "episodes": [{"episode": name, **asdict(bill)} for name, bill in record.bills],
            },
            "controllers_restarted": record.restarts,
            "trends": [{**asdict(trend), "judged": trend.judged, "leaks": trend.leaks} for trend in self.trends],
            # A reader who looks for the cause needs them; the lab's folder is gone.
            "logs": {} if self.good else {name: text.splitlines() for name, text in record.logs.items()},
            "samples": [
                [one.process, round(one.age, 1), one.calm, round(one.rss_mb, 2), one.descriptors, one.threads]
                for one in record.samples
            ],
        }  # fmt: skip

    def _incident(self, index: int, incident: Incident) -> dict[str, Any]:
        lost = self.losses.excused.get(index, [])
        start = self.record.began
        return {
            "episode": incident.episode,
            "what": incident.what,
            "began": round(incident.began - start, 2),
            "ended": _since(incident.ended, start),
            "converged": _since(incident.converged, start),
            "reconvergence_seconds": _since(incident.converged, incident.ended),
            "lost": sum(loss.packets for loss in lost),
            "lost_for_seconds_at_most": round(losses.duration(lost), 2) if lost else 0.0,
        }

    # --- for people -------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """To be printed one below the other."""
        return [self._faults(), self._traffic(), self._processes(), self._judgement()]

    def _faults(self) -> Table:
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for index, incident in enumerate(self.record.incidents):
            by_kind.setdefault(_kind(incident), []).append(self._incident(index, incident))
        rows = []
        for kind, of_kind in sorted(by_kind.items()):
            times = [one["reconvergence_seconds"] for one in of_kind if one["reconvergence_seconds"] is not None]
            shown = f"{median(times):.1f} / {max(times):.1f} s" if times else "never"
            lost = [one for one in of_kind if one["lost"]]
            gap = max((one["lost_for_seconds_at_most"] for one in lost), default=0.0)
            words = f"{sum(one['lost'] for one in lost)} within {gap:.1f} s" if lost else "0"
            rows.append((kind, str(len(of_kind)), shown, words))
        return Table(("FAULT", "TIMES", "WELL AGAIN AFTER (MEDIAN / MOST)", "LOST BY SABOTAGE"), rows)

    def _traffic(self) -> Table:
        wrong: dict[tuple[str, str], int] = {}
        for loss, _ in self.losses.wrong:
            wrong[loss.family, loss.path] = wrong.get((loss.family, loss.path), 0) + loss.packets
        rows = [
            (f"{family} {path}", f"{count:,}", f"{wrong.get((family, path), 0):,}")
            for (family, path), count in sorted(self.exchange.sent.items())
        ]
        rows.append(("all", f"{self.exchange.sent.total():,}", f"{self.losses.wrong_packets:,}"))
        death, exchange = self.exchange.at_death, self.exchange
        note = (
            f"{self.record.path_changes} changes of a pair's path. Lost by sabotage: "
            f"{self.losses.sabotaged_packets:,} packets; with hosts that died: {death['lost']:,} of {death['sent']:,}. "
            f"TCP: {exchange.tcp_bytes:,} bytes, {exchange.retransmissions} segments sent again."
        )
        return Table(("FLOWS", "PACKETS SENT", "LOST"), rows, (note,))

    def _processes(self) -> Table:
        rows = [
            (trend.role, str(trend.lives), f"{trend.seconds:.0f} s", trend.what.replace("_", " "),
             f"{trend.least:.1f} - {trend.most:.1f}", f"{trend.rate:+.1f} ± {trend.error:.1f}",
             f"{trend.later_rate:+.1f}")
            for trend in self.trends
        ]  # fmt: skip
        ec2, kube = self.record.ec2_writes.total(), _listed(self.record.kube_writes)
        note = (
            f"Controllers that ended by themselves and were started again: {self.record.restarts}. "
            f"Writes: {ec2} to EC2 ({_listed(self.record.ec2_writes)}); to Kubernetes: {kube or 'not counted'}."
        )
        columns = ("PROCESSES", "LIVES", "OLDER THAN 60 S", "FIGURE", "RANGE", "GROWTH AN HOUR", "LATER")
        return Table(columns, rows, (note,))

    def _judgement(self) -> Table:
        rows = []
        for verdict in self.verdicts:
            rows.append((verdict.claim, verdict.word, verdict.against[0] if verdict.against else ""))
            rows += [("", "", more) for more in verdict.against[1:MOST_SHOWN]]
            if len(verdict.against) > MOST_SHOWN:
                rows.append(("", "", f"and {len(verdict.against) - MOST_SHOWN} more"))
        record = self.record
        minutes = f"{record.minutes:g}"
        ended = ", ended early by hand" if record.interrupted else ""
        note = (
            f"{len(record.bills)} episodes in {record.seconds:.0f} s{ended}; the same faults again: "
            f"make soak MINUTES={minutes} SEED={record.seed}"
        )
        return Table(("CLAIM", "TRUE", "WHAT SPEAKS AGAINST IT"), rows, (note,))


def _kind(incident: Incident) -> str:
    """Its words without who, how long and how many."""
    words = incident.what.partition(", for ")[0].rpartition(": ")[2]
    return "the limit changes" if "limit becomes" in words else "foreign routes" if "foreign" in words else words


def _since(moment: float, start: float) -> float | None:
    return None if moment == float("inf") else round(moment - start, 2)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)
