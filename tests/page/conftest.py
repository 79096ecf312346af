"""A browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.page.chrome import Tab, chrome


@pytest.fixture(scope="package")
def browser() -> Iterator[Tab]:
    with chrome() as tab:
        tab.size(1280, 900)
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """A cleared tab; fails in the end if the browser has reported any error."""
    browser.media(prefers_color_scheme="light")
    browser.leave()
    for gathered in (browser.requests, browser.statuses, browser.complaints):
        gathered.clear()
    yield browser
    assert browser.complaints == []
