"""Others' words: whatever they hold, they are one line that can be seen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudroute.core.words import one_line

HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control characters, format (bidi, zero-width, tags), surrogates, and separators of lines and paragraphs."""
ORDINARY = st.characters(categories=("L", "N", "P", "S"), include_characters=" ")


@given(st.text(st.characters()))
@example("\x00\x07\x1b[2J\x7f\x85\x9b\r\n\t\v\f")
@example("\u2028\u2029\u202e\u2066\u200b\u200d\ufeff\u00ad\U000e0041\ud800")
def test_no_harmful_character_is_left(text: str) -> None:
    """None of these categories, and each such character stands there as an escape."""
    shown = one_line(text)
    assert {unicodedata.category(char) for char in shown}.isdisjoint(HARMFUL)
    assert shown.count("\\") >= sum(unicodedata.category(char) in HARMFUL for char in text)
    assert one_line(shown) == shown


@given(st.text(ORDINARY))
@example("Zürich 東京 नमस्ते ✓ 💥")
def test_ordinary_text_stays(text: str) -> None:
    """Letters, figures, punctuation and signs of any script are not touched."""
    assert one_line(text) == text


@pytest.mark.parametrize(("text", "shown"), [("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("a\u202eb", r"a\u202eb")])
def test_escapes_are_those_of_python(text: str, shown: str) -> None:
    """As a programmer would write them."""
    assert one_line(text) == shown
