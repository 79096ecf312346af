"""The site that `make docs` builds is complete, and needs nothing else: no network, no server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import ROOT, pages

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""Attributes by which a browser loads resources, by element; an `a` is loaded on a click only."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with warnings as errors; for root in a network namespace that has no network."""
    out = tmp_path_factory.mktemp("site")
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-c", "docs", ".", str(out)]
    done = subprocess.run([*alone, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in LOADS and given.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.loaded.append(given.get(LOADS[tag]) or "")
        elif tag == "a":
            self.linked.append(given.get("href") or "")


def references(html: str) -> _References:
    """URLs that a page loads, and URLs that it links."""
    parser = _References()
    parser.feed(html)
    return parser


def outside(html: str) -> list[str]:
    """URLs of other hosts that a page would load."""
    return [target for target in references(html).loaded if re.match(r"(?:[a-z]+:)?//", target)]


def dangling(page: Path, html: str) -> Iterator[str]:
    """References that are no file of the site; a folder is none, since no server adds index.html."""
    found = references(html)
    for target in (*found.loaded, *found.linked):
        name = unquote(re.split(r"[?#]", target)[0])
        if name and not re.match(r"[a-z]+:|//", target) and not (page.parent / name).is_file():
            yield target


def test_pages_ask_nobody_else(site: Path) -> None:
    """No page, style or script loads anything by URL."""
    assert {str(path): found for path in site.rglob("*.html") if (found := outside(path.read_text()))} == {}
    styles = [path.read_text() for path in site.rglob("*.css")]
    assert not [found for style in styles for found in re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", style)]


def test_all_links_lead_to_files(site: Path) -> None:
    """From file:// every link inside the site works."""
    problems = {
        str(path.relative_to(site)): found
        for path in site.rglob("*.html")
        if (found := list(dangling(path, path.read_text())))
    }
    assert problems == {}


def test_every_page_is_there(site: Path) -> None:
    """Each Markdown page is built, and index.html leads to the first."""
    assert [page.name for page in pages() if not (site / page.name).with_suffix(".html").is_file()] == []
    assert references((site / "index.html").read_text()).linked == ["docs/index.html"]


def test_the_menu_has_every_page_of_docs(site: Path) -> None:
    """No page can be reached by search alone."""
    linked = set(references((site / "docs" / "index.html").read_text()).linked)
    names = [page.name.removeprefix("docs/") for page in pages() if page.name.startswith("docs/")]
    assert [name for name in names if name != "index.md" and name.replace(".md", ".html") not in linked] == []


def test_search_needs_no_server(site: Path) -> None:
    """The index is a script that the search page loads, and knows a word of a page."""
    assert "searchindex.js" in references((site / "search.html").read_text()).loaded
    assert "masquerad" in (site / "searchindex.js").read_text()


def test_other_hosts_and_missing_files_are_found(tmp_path: Path) -> None:
    """References to other hosts and to missing files are detected."""
    html = '<img src="https://x.org/a.png"><script src="//x.org/a.js"></script><a href="sub">a</a><a href="https://x.org">b</a>'
    (tmp_path / "sub").mkdir()
    assert outside(html) == ["https://x.org/a.png", "//x.org/a.js"]
    assert list(dangling(tmp_path / "page.html", html)) == ["sub"]
