"""Label selectors by Kubernetes' grammar, applied to labels."""

from __future__ import annotations

import pytest

from cloudroute.selector import EXPECTED, Selector

LABELS = {"zone": "a", "kubernetes.io/os": "linux", "empty": ""}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("zone=a", True),
        (" zone == a ", True),
        ("zone!=a", False),
        ("other!=a", True),
        ("zone in (b, a)", True),
        ("zone in(b)", False),
        ("zone notin (b,c)", True),
        ("other notin (b)", True),
        ("zone", True),
        ("!zone", False),
        ("! other", True),
        ("empty=", True),
        ("empty in (a,)", True),
        ("empty in (),zone notin ()", True),
        ("kubernetes.io/os=linux,zone in (a)", True),
        ("kubernetes.io/os=linux,zone in (b)", False),
        ("in in (a),notin", False),
    ],
)
def test_labels_are_selected_as_kubernetes_does_it(text: str, *, selected: bool) -> None:
    """Every requirement must hold; an absent label differs from every value."""
    assert Selector.parse(text).matches(LABELS) is selected


@pytest.mark.parametrize(
    "text",
    ["=a", "zone=a,", ",zone", "zone a", "zone in a", "zone in (a", "zone=(a)", "zone=!a", "!zone=a",
     "zone>1", "-zone", "zone=-a", "Upper.io/a", "a/b/c", "/a", "zone=a b", "zone in (a b)", "x" * 64, "zone\u00e9",
     "zone===a"],
)  # fmt: skip
def test_a_bad_selector_is_refused_with_the_whole_grammar(text: str) -> None:
    """A malformed selector is refused: a guess could select other nodes, and remove routes of the intended ones."""
    with pytest.raises(ValueError, match="expected a label selector") as refused:
        Selector.parse(text)
    assert str(refused.value) == EXPECTED
