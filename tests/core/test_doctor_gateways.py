"""Whether a node can make itself a gateway: it may, where its kubelet can set the label that is selected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.selector import Selector
from tests.core.doctor_facts import UNREAD, found

FACTS = replace(UNREAD, policy=replace(UNREAD.policy, gateways=True))
PROTECTED = "node-restriction.kubernetes.io/role"


@pytest.mark.parametrize(
    ("selector", "state"),
    [
        ("role=gateway", "warning"),
        ("cloudroute.io/gateway", "warning"),
        ("node.kubernetes.io/role=gateway", "warning"),
        ("topology.kubernetes.io/zone in (eu-central-1a)", "warning"),
        (f"{PROTECTED}!=none", "warning"),
        (f"!{PROTECTED},role=gateway", "warning"),
        ("", "warning"),
        (f"{PROTECTED}=gateway", "ok"),
        (f"{PROTECTED} in (gateway,edge)", "ok"),
        ("example.com.node-restriction.kubernetes.io/gateway", "ok"),
        ("node-role.kubernetes.io/gateway", "ok"),
        (f"role=gateway,{PROTECTED}=gateway", "ok"),
    ],
)
def test_a_selector_that_a_kubelet_can_fulfil_is_warned_of(selector: str, state: str) -> None:
    """One label that it can't set suffices. A label that has to be absent is no hindrance."""
    facts = replace(FACTS, gateway_nodes=Selector.parse(selector))
    assert found(facts, "gateway-label").state == state


def test_the_warning_names_the_selector_and_a_label_to_take() -> None:
    """So that nobody has to look for them."""
    finding = found(replace(FACTS, gateway_nodes=Selector.parse("role=gateway")), "gateway-label")
    assert "--gateway-nodes role=gateway" in finding.found
    assert PROTECTED in finding.todo


def test_without_gateways_nothing_is_said() -> None:
    """The selector selects nobody."""
    assert found(UNREAD, "gateway-label").state == "not checked"
