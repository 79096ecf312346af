"""Evidence by which the causes of a failed check are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cloudroute.core.explain.doctor.findings import Finding
from cloudroute.core.verify.model import Answer, Outcome

SERVICES = ("service-same-node", "service-other-node", "service-itself")
"""Checks that ask a Service."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Findings of a run. Answers that many failures ask for are computed once."""

    outcomes: Sequence[Outcome]
    states: Mapping[str, Answer] = field(default_factory=dict)
    """Kernel state by node; see cloudroute.probe."""
    findings: Mapping[str, Finding] = field(default_factory=dict)
    """Doctor's failures and warnings, by check."""
    pod_cidrs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By node."""
    agent_troubles: Mapping[str, str] = field(default_factory=dict)
    """Words of agents that are not ready, by node."""
    checked: frozenset[str] = frozenset()
    """Nodes whose source/dest check is on, as far as EC2 was read."""
    changed: frozenset[str] = frozenset()
    """Nodes whose NodeRoute changed during the run."""
    dns_ready: int | None
    """Pods that answer for the cluster's DNS; None where that is not known."""

    @cached_property
    def passing(self) -> frozenset[str]:
        """Paths on which a pair of pods reaches each other."""
        return frozenset(one.path for one in self.outcomes if one.name == "pod-udp" and one.result == "ok")

    @cached_property
    def unreached(self) -> tuple[Outcome, ...]:
        """Pairs of pods that do not reach each other."""
        return tuple(one for one in self.outcomes if one.name == "pod-udp" and one.result == "failed")

    @cached_property
    def served(self) -> frozenset[str]:
        """Sources that a Service answers."""
        return frozenset(one.source for one in self.outcomes if one.name in SERVICES and one.result == "ok")

    @cached_property
    def uncalled(self) -> frozenset[str]:
        """Paths of nodes whose pods the API server does not reach."""
        return frozenset(one.path for one in self.outcomes if one.name == "webhook" and one.result == "failed")

    @cached_property
    def closed(self) -> frozenset[str]:
        """Nodes that their own pods do not reach."""
        failed = [one for one in self.outcomes if one.name == "pod-to-own-node" and one.result == "failed"]
        return frozenset(node for one in failed for node in one.nodes)

    @cached_property
    def small(self) -> frozenset[tuple[str, str]]:
        """Sources and targets between which small packets pass."""
        return frozenset(
            (one.source, one.target)
            for one in self.outcomes
            if one.kind == "udp" and one.name != "pod-full-size" and one.answer.get("ok")
        )
