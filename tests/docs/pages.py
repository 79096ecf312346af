"""Markdown pages, parsed into links, anchors, code blocks and inline code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PATTERNS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/**/*.md",
    "terraform/**/README.md",
    "deploy/**/README.md",
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the word after the fence, what is inside, and the line of its first line."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Link:
    """Target of a link or an image, and the line of its paragraph."""

    target: str
    line: int


@dataclass(frozen=True)
class Page:
    """One page; `name` is its path from the repository's root."""

    name: str
    text: str

    @cached_property
    def _tokens(self) -> Sequence[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.text)

    def _inline(self) -> Iterator[tuple[Token, int]]:
        line = 0
        for token in self._tokens:
            line = token.map[0] + 1 if token.map else line
            for child in token.children or ():
                yield child, line

    @property
    def blocks(self) -> list[Block]:
        """All fenced blocks, indented code aside."""
        return [
            Block(token.info.split()[0] if token.info else "", token.content, (token.map or [0])[0] + 2)
            for token in self._tokens
            if token.type == "fence"
        ]

    @property
    def links(self) -> list[Link]:
        """All links and images."""
        attributes = {"link_open": "href", "image": "src"}
        return [
            Link(str(token.attrGet(attributes[token.type]) or ""), line)
            for token, line in self._inline()
            if token.type in attributes
        ]

    @property
    def words(self) -> list[tuple[str, int]]:
        """Inline code, with its line."""
        return [(token.content, line) for token, line in self._inline() if token.type == "code_inline"]

    @property
    def anchors(self) -> set[str]:
        """Anchors of this page, as GitHub and the site derive them from headings."""
        found: set[str] = set()
        for token, following in zip(self._tokens, self._tokens[1:], strict=False):
            if token.type == "heading_open":
                text = "".join(child.content for child in following.children or () if child.type in _TEXTS)
                found.add(_unused(slug(text), found))
        return found


_TEXTS = ("text", "code_inline")


def slug(heading: str) -> str:
    """A heading as an anchor.

    >>> slug("Work on it"), slug("What `path` says: why, and how")
    ('work-on-it', 'what-path-says-why-and-how')
    """
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


def _unused(name: str, found: set[str]) -> str:
    number = 0
    while (candidate := f"{name}-{number}" if number else name) in found:
        number += 1
    return candidate


def pages() -> list[Page]:
    """Every page of the repository."""
    paths = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern) if ".terraform" not in path.parts})
    return [Page(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]
