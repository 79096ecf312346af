"""The words of `cloudroute verify`: nodes to choose from, questions that probes ask, and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from cloudroute.types import Family

Result = Literal["ok", "failed", "skipped", "told"]
RESULTS: tuple[Result, ...] = ("ok", "failed", "skipped", "told")

Answer = Mapping[str, Any]
"""A probe's answer: `ok`, and either what it saw or `error` and `code`; see cloudroute.probe."""
_NONE: Answer = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """A Node as a place for probes. The features are "" where its labels do not tell."""

    name: str
    zone: str = ""
    instance_type: str = ""
    group: str = ""
    """Node group: of EKS, Karpenter, kOps, Cluster API."""
    ready: bool = True

    @property
    def instance_family(self) -> str:
        """The family of the instance type.

        >>> NodeFacts(name="a", instance_type="m7g.large").instance_family
        'm7g'
        """
        return self.instance_type.partition(".")[0]


Role = Literal["pod", "second", "denied", "host-port", "node"]
"""Of an asker: the first or the second pod of a node, the node itself, by its agent's container, or a pod that asks
nothing: a NetworkPolicy lets nothing into it, or it has a port of its host."""


class Asker(NamedTuple):
    """A process that asks."""

    node: str
    role: Role

    def __str__(self) -> str:
        words: Mapping[Role, str] = {
            "pod": "pod on",
            "second": "second pod on",
            "denied": "denied pod on",
            "host-port": "host port's pod on",
            "node": "node",
        }
        return f"{words[self.role]} {self.node}"


class Cause(NamedTuple):
    """A likely cause of a failure, and what to look at."""

    cause: str
    look: str


Judge = Callable[[Answer], tuple[Result, str]]
"""Returns the result, and what came in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a probe. `ask` is the request, without its id; see cloudroute.probe."""

    name: str
    """Name of the check."""
    asker: Asker
    target: str
    """The far end in words."""
    target_node: str = ""
    """The node that the far end is or runs on."""
    family: Family | Literal[""] = ""
    path: str = ""
    """Predicted path; "" where none of ours is involved."""
    ask: Mapping[str, object]
    expected: str
    judge: Judge
    control: bool = False
    """Whether it is asked of a node to know what its pods can expect, and is no check itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one check, field by field `checks[]` of the JSON output."""

    name: str
    source: str
    target: str
    family: Family | Literal[""] = ""
    path: str = ""
    result: Result
    expected: str
    got: str
    causes: Sequence[Cause] = ()
    nodes: tuple[str, ...] = ()
    """The nodes of both ends."""
    kind: str = ""
    """Kind of the question: udp, tcp, dns, ..."""
    answer: Answer = field(default_factory=dict)

    @classmethod
    def of(cls, question: Question, answer: Answer) -> Outcome:
        """The judged answer to a question."""
        return cls.as_judged(question, *question.judge(answer), answer=answer)

    @classmethod
    def as_judged(cls, question: Question, result: Result, got: str, *, answer: Answer = _NONE) -> Outcome:
        """The outcome of a question, by whoever has judged it."""
        return cls(
            name=question.name,
            source=str(question.asker),
            target=question.target,
            family=question.family,
            path=question.path,
            result=result,
            expected=question.expected,
            got=got,
            nodes=tuple(dict.fromkeys(filter(None, (question.asker.node, question.target_node)))),
            kind=str(question.ask.get("kind", "")),
            answer=answer,
        )

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "name": self.name,
            "from": self.source,
            "to": self.target,
            "family": self.family,
            "path": self.path,
            "result": self.result,
            "expected": self.expected,
            "got": self.got,
            "causes": [cause._asdict() for cause in self.causes],
        }
