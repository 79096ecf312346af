"""Label selectors, compared with the API server's own parser."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cloudroute.selector import Selector
from tests.contract.conftest import Api

PREFIX = "selector-"
LABELS: list[dict[str, str]] = [{}, {"a": "x"}, {"a": "y", "in": "x"}, {"a": "", "k8s.io/b": "y"}, {"k8s.io/b": "x"}]
WORDS = st.sampled_from(
    ["a", "in", "notin", "k8s.io/b", "K8s.io/b", "x", "y", "-x", "=", "==", "!=", "!", "(", ")", ",", " ", "\t", "/"]
)
KEYS, VALUES = st.sampled_from(["a", "in", "k8s.io/b"]), st.sampled_from(["x", "y", ""])
LISTS = st.lists(VALUES, min_size=1, max_size=3).map(", ".join)
GOOD = st.one_of(
    st.builds("{}{}{}".format, KEYS, st.sampled_from(["=", "==", "!=", " = "]), VALUES),
    st.builds("{} {} ({})".format, KEYS, st.sampled_from(["in", "notin"]), LISTS),
    st.builds("{}{}".format, st.sampled_from(["", "!"]), KEYS),
)
TEXTS = st.one_of(st.lists(GOOD, min_size=1, max_size=3).map(",".join), st.lists(WORDS, max_size=8).map("".join))


@pytest.fixture(scope="module")
def labelled(kube_api: Api) -> Api:
    """An API with a Node for each set of labels."""
    for number, labels in enumerate(LABELS):
        metadata = {"name": f"{PREFIX}{number}", "labels": labels}
        kube_api.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    return kube_api


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("a in (,)")
@example("a in ( )")
@example("a=x,")
@example(" ")
def test_every_text_selects_as_the_api_server_does_or_is_refused_by_both(labelled: Api, text: str) -> None:
    """Any text selects the same objects as at the API server, or is 400 there and ValueError here."""
    assume(not re.search(r",\s*,\s*\)", text))  # the server refuses "x,,)" and accepts "x,,,)": a quirk without meaning
    answer = labelled.ask("GET", f"/api/v1/nodes?labelSelector={quote(text)}")
    try:
        selector = Selector.parse(text)
    except ValueError:
        assert answer.status == 400
        return
    assert answer.status == 200
    listed = {item["metadata"]["name"] for item in answer.body["items"]}
    expected = {f"{PREFIX}{number}" for number, labels in enumerate(LABELS) if selector.matches(labels)}
    assert {name for name in listed if name.startswith(PREFIX)} == expected
