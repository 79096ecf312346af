"""Every page of the documentation passes every check."""

from __future__ import annotations

import pytest

from tests.docs.checks import CHECKS, Check
from tests.docs.pages import pages


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_is_wrong(check: Check) -> None:
    """All pages together have no problem of that kind."""
    assert [f"{page.name}: {problem}" for page in pages() for problem in check(page)] == []


def test_the_pages_are_there() -> None:
    """The patterns match pages in each folder."""
    names = {page.name for page in pages()}
    assert {"README.md", "CHANGELOG.md", "docs/index.md", "terraform/README.md", "deploy/iam/README.md"} <= names
