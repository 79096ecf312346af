"""The meaning of a probe's answer: ok or failed, and what came, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cloudroute.core.verify.model import Answer, Judge, Outcome, Result
from cloudroute.errors import CloudrouteError


def answered(seen: str = "") -> Judge:
    """An answer has to come; and, where `seen` is given, from a far side that saw this source address."""

    def judge(answer: Answer) -> tuple[Result, str]:
        if not answer.get("ok"):
            return "failed", error_of(answer)
        shown = str(answer.get("seen", ""))
        words = f"answered, seen as {shown}" if shown else "answered"
        if lost := answer.get("lost"):
            words += f"; {lost} tries were not answered"
        return ("failed" if seen and shown and shown != seen else "ok"), words

    return judge


def reached(answer: Answer) -> tuple[Result, str]:
    """A connection has to be accepted or refused: either way the host has answered. Its name is another check's."""
    if answer.get("code") == "refused":
        return "ok", "refused by the host, which is an answer"
    if answer.get("code") == "dns":
        return "skipped", f"{error_of(answer)}: see dns-outside"
    return answered()(answer)


def refused_as_too_big(answer: Answer) -> tuple[Result, str]:
    """The packet has to be refused by its own kernel: larger ones would be lost where nobody sees it."""
    if answer.get("ok"):
        return "failed", "answered: it passed as one packet, or in fragments"
    return ("ok" if answer.get("code") == "too-big" else "failed"), error_of(answer)


def nothing_lost(answer: Answer) -> tuple[Result, str]:
    """Each packet of a stream has to be answered once."""
    if not answer.get("ok"):
        return "failed", error_of(answer)
    least, median, most = answer["rtt_ms"] or (0, 0, 0)
    words = f"{answer['lost']} of {answer['sent']} lost; {least:.2f}, {median:.2f} and {most:.2f} ms"
    if 0 < answer["lost"] <= answer["tool_lost"]:
        return "skipped", f"{words}; the probes themselves were too slow for {answer['tool_lost']} packets"
    return ("failed" if answer["lost"] or answer["duplicates"] else "ok"), words


def resolved(wanted: Collection[str] = ()) -> Judge:
    """A name has to have an address; and, where `wanted` are given, one of these."""

    def judge(answer: Answer) -> tuple[Result, str]:
        if not answer.get("ok"):
            return "failed", error_of(answer)
        addresses = answer["addresses"]
        words = f"{', '.join(addresses)}, said {answer['server']}"
        good = bool(set(wanted) & set(addresses)) if wanted else bool(addresses)
        return ("ok" if good else "failed"), words

    return judge


def replied(answer: Answer) -> tuple[Result, str]:
    """Any reply by HTTP is one: a refusal has reached its server, too."""
    if not answer.get("ok"):
        return "failed", error_of(answer)
    return "ok", f"HTTP status {answer['status']}"


def told(answer: Answer) -> tuple[Result, str]:
    """Nothing is judged: a cluster may have it this way or that."""
    if not answer.get("ok"):
        return "told", f"not reachable: {error_of(answer)}"
    return "told", f"reachable (HTTP status {answer['status']})" if "status" in answer else "reachable"


def kept_out(enforcer: str) -> Judge:
    """No answer may come where an enforcer of NetworkPolicies runs; `enforcer` is its name, or ""."""

    def judge(answer: Answer) -> tuple[Result, str]:
        if answer.get("code") == "exec":
            return "skipped", error_of(answer)
        if not answer.get("ok"):
            return "ok", "denied"
        if enforcer:
            return "failed", f"answered, though {enforcer} runs"
        return "told", "answered: nothing enforces NetworkPolicies in this cluster"

    return judge


def collected(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """All outcomes. An error that ends them too early becomes the last one: it must not take along what is known."""
    found: list[Outcome] = []
    try:
        for outcome in outcomes:
            found.append(outcome)  # noqa: PERF402 - an error keeps those before it
    except CloudrouteError as error:
        got, expected = "; ".join(error.lines), "all checks are made"
        found.append(
            Outcome(name="run", source="verify", target="cluster", result="failed", expected=expected, got=got)
        )
    return found


def error_of(answer: Answer) -> str:
    """The error of an answer, in words."""
    return str(answer.get("error") or "it was not asked")
