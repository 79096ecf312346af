"""docs/troubleshooting.md explains every reason of the program, and quotes only its texts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudroute.core.explain.doctor import (
    acls,
    aws,
    cluster,
    control_plane,
    gateways,
    groups,
    instances,
    leader,
    networks,
    node,
    vpc,
)
from cloudroute.core.explain.doctor.findings import Check
from tests.docs.pages import ROOT, Page
from tests.docs.sayings import GAP, reasons, sentences

NAME = "docs/troubleshooting.md"
OF_OTHERS = {"RequestLimitExceeded", "NetworkUnavailable", "CloudTrail"}
"""Words of AWS and Kubernetes that look like reasons."""
PROGRAMS = ("cloudroute", "kubectl", "nft", "ip", "make", "apt", "helm", "container")
"""First words of inline code that is not our text: commands, and the kubelet's message."""


def page() -> Page:
    return Page(NAME, (ROOT / NAME).read_text())


def unknown_reasons(page: Page) -> list[str]:
    """Words of a reason's form that are no reason."""
    looks = {word for word, _ in page.words if re.fullmatch(r"[A-Z]\w*[a-z]\w*[A-Z]\w*", word)}
    return sorted(looks - reasons() - OF_OTHERS)


def unknown_sentences(page: Page) -> list[str]:
    """Quotes that the program never prints; `...` stands for a value."""
    return [text for text in quoted(page) if not said(text)]


def quoted(page: Page) -> Iterator[str]:
    for code, _ in page.words:
        if " " in code and not code.startswith(("-", *PROGRAMS)) and "seen as" not in code:
            yield code


def said(quote: str) -> bool:
    pattern = re.compile("[^\n]*".join(map(re.escape, quote.split("..."))))
    return any(pattern.search(text.replace(GAP, " ")) for text in sentences())


def unknown_checks(page: Page) -> list[str]:
    """Names of doctor's checks that do not exist."""
    named = re.findall(r"checks? (?:is )?`([\w:-]+)`", " ".join(page.text.split()))
    return sorted(set(named) - checks())


def checks() -> set[str]:
    modules = (acls, aws, cluster, control_plane, gateways, groups, instances, leader, networks, node, vpc)
    tuples = (value for module in modules for value in vars(module).values() if isinstance(value, tuple))
    return {check.name for found in tuples for check in found if isinstance(check, Check)}


def test_each_reason_is_explained() -> None:
    """The page explains every reason of an Event, a condition or a status."""
    assert sorted(reasons() - {word for word, _ in page().words}) == []


def test_nothing_is_explained_that_is_never_said() -> None:
    """Reasons, sentences and checks in the page are those of the code."""
    assert (unknown_reasons(page()), unknown_sentences(page()), unknown_checks(page())) == ([], [], [])


def test_messages_that_no_code_logs_are_found() -> None:
    """A page with another reason, sentence or check fails."""
    wrong = Page(NAME, "`NoSuchReason`, `the lease ... is found`, the check `group-pods` and the check `groups-pods`")
    assert unknown_reasons(wrong) == ["NoSuchReason"]
    assert unknown_sentences(wrong) == ["the lease ... is found"]
    assert unknown_checks(wrong) == ["group-pods"]
