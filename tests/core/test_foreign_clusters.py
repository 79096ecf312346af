"""Other clusters in the VPC: one of our name is refused, all others are none of our business."""

from __future__ import annotations

from dataclasses import replace

from cloudroute.core.cluster.foreign_clusters import refusal
from cloudroute.types import InterfaceOwner
from tests.core.world import POLICY, World


def reasons(*clusters: str) -> list[str]:
    """Reasons not to start where a route leads to an instance that is tagged for these clusters."""
    world = World()
    world.join("a")
    world.foreign("rtb-a", "100.64.200.0/24", "eni-other")
    owners = {"eni-other": InterfaceOwner("i-other", frozenset(clusters))}
    return refusal(replace(world.snapshot(), unknown_owners=owners), POLICY)


def test_a_cluster_of_our_name_is_refused_and_no_other() -> None:
    """By the tag of its instances; one without a tag is nobody's cluster."""
    (words,) = reasons("test", "else")
    assert words.startswith("rtb-a: the route 100.64.200.0/24 leads to i-other, which is tagged")
    assert reasons("else") == []
    assert reasons() == []
