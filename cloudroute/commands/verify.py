"""`cloudroute verify`: starts pods for a while, and tries what a cluster's network has to do."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloudroute.clock import SystemClock
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import DONE, FAILED
from cloudroute.commands.output import Table, write_lines, write_result
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.verify.mask import masked
from cloudroute.core.verify.model import RESULTS, Outcome
from cloudroute.errors import CloudrouteError, UsageError
from cloudroute.verify.options import VerifyOptions

if TYPE_CHECKING:
    from cloudroute.verify.run import Diagnosis, Verdict

_SHOWN = 5
"""Failures of one kind that are written out."""


def run(invocation: Invocation) -> int:
    """Run all checks and print them. Return 1 when one failed."""
    from cloudroute.verify.here import verify_here  # only here: they load the Kubernetes client
    from cloudroute.verify.run import verify

    settings, options = invocation[ControllerSettings], invocation[VerifyOptions]
    alone = {"--vpc-host": options.vpc_host, "--webhooks": options.webhooks, "--disrupt": options.disrupt}
    if options.here and (useless := [flag for flag, value in {**alone, "--keep": options.keep}.items() if value]):
        raise UsageError([f"{flag}: not with --here, which starts no pods" for flag in useless])
    if options.report and not Path(options.report).absolute().parent.is_dir():
        raise UsageError([f"--report {options.report}: expected a file in a folder that exists"])
    signal.signal(signal.SIGTERM, _interrupt)  # so that the pods go then, too
    if options.here:
        verdict = verify_here(settings, options, _say)
    else:
        verdict = verify(settings, options, lambda: _diagnose(settings), _say)
    form = invocation[OutputSettings].output
    write_result(
        form,
        {"nodes": list(verdict.sample.nodes), "checks": [outcome.as_json() for outcome in verdict.outcomes]},
        [_summary(verdict.outcomes)],
    )
    if form == "table":
        write_lines(_failures(verdict.outcomes))
    if options.report:
        _report(Path(options.report), verdict)
    return FAILED if any(outcome.result == "failed" for outcome in verdict.outcomes) else DONE


def _report(path: Path, verdict: Verdict) -> None:
    """Show the report, and write it; where a person is there, only when they agree. Raises CloudrouteError."""
    from cloudroute.verify.report import contents  # only here: it loads the Kubernetes client

    text = json.dumps(masked(contents(verdict)), indent=2) + "\n"
    write_lines(text.splitlines(), sys.stderr)
    if sys.stdin.isatty():
        write_lines([f"Write this to {path}? [y/N]"], sys.stderr)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return
    try:
        path.write_text(text)
    except OSError as error:
        raise CloudrouteError(f"--report {path}: {error.strerror or error}") from error
    write_lines([f"written to {path}"], sys.stderr)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    """Tell the progress, on stderr: stdout is for the result."""
    write_lines([line], sys.stderr)


def _diagnose(settings: ControllerSettings) -> Diagnosis:
    from cloudroute.commands.doctor_facts import gather, own_session
    from cloudroute.core.explain.doctor.examine import examine
    from cloudroute.core.explain.doctor.findings import Unknown
    from cloudroute.verify.run import Diagnosis

    here = Unknown("verify does not look at this machine")
    facts = gather(settings, own_session(), SystemClock(), lambda: here)
    return Diagnosis(facts, examine(facts))


def _summary(outcomes: Sequence[Outcome]) -> Table:
    """A row for each check and path, with the number of each result."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.name, {}).setdefault(outcome.path, Counter())[outcome.result] += 1
    rows = [
        (name, path, *(str(found[result] or "") for result in RESULTS))
        for name, by_path in counts.items()
        for path, found in by_path.items()
    ]
    totals = Counter(outcome.result for outcome in outcomes)
    words = ", ".join(f"{totals[result]} {result}" for result in RESULTS if totals[result])
    return Table(
        ("CHECK", "PATH", *(result.upper() for result in RESULTS)), rows, (f"{len(outcomes)} checks: {words}",)
    )


def _failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Each failure in words; those with one cause stand together. Then what was told."""
    failed: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result == "failed":
            failed.setdefault(tuple(cause.cause for cause in outcome.causes), []).append(outcome)
    for group in failed.values():
        yield ""
        for outcome in group[:_SHOWN]:
            path = f" ({outcome.path})" if outcome.path else ""
            yield f"FAILED {outcome.name}: {outcome.source} to {outcome.target}{path}"
            yield f"  expected {outcome.expected}; got {outcome.got}"
        if len(group) > _SHOWN:
            yield f"  and {len(group) - _SHOWN} more of this kind (-o json has all)"
        for number, cause in enumerate(group[0].causes, 1):
            yield f"  cause {number}: {cause.cause}"
            yield f"    look at: {cause.look}"
    for result in ("skipped", "told"):
        said = Counter((one.name, one.got) for one in outcomes if one.result == result)
        for (name, got), number in said.items():
            yield f"{result} {name}: {got}{f' ({number} times)' if number > 1 else ''}"


COMMAND = Command(
    name="verify",
    summary="try the cluster's network end to end: pods, nodes, Services, DNS, the way out",
    text=(
        "Starts two small pods on each of some nodes, in a namespace of its own, asks from them and from the agents' "
        "containers, and removes them at the end, after Ctrl-C too. Every pair of pods is tried in both directions, by "
        "UDP and TCP, with full-size packets and one byte more, in both families, and its packets are counted on the "
        "nodes that they pass, against the path that `cloudroute path` predicts. Then nodes, host ports, Services, "
        "DNS, the API server, the internet, hosts of the VPC; the metadata service is told, not judged. Where a node "
        "itself has no way to a place, its pods' check is skipped. A failure comes with its likely causes, the "
        "likeliest first, from the kernels of both nodes and, where AWS may be read, from doctor's checks. It needs "
        "the rights to make a namespace and pods and to exec in them and in the agents. Exits with 1 when a check "
        "failed."
    ),
    example=(
        "cloudroute verify --kubeconfig ~/.kube/config\n"
        """cloudroute verify -o json | jq '.checks[] | select(.result == "failed")'"""
    ),
    run=run,
    kinds=(ControllerSettings, VerifyOptions, OutputSettings),
)
