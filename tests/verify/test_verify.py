"""`cloudroute verify` on a real cluster: clean while all is well, and each fault is told with its cause first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cloudroute.lab.hosts.cluster import ClusterHost
from cloudroute.types import PATHS
from tests.cluster.fleet import Fleet
from tests.cluster.release import Release
from tests.packets.world import paths
from tests.verify.breaks import BREAKS, broken
from tests.waiting import eventually

QUICK = "--seconds=1"


class Right(NamedTuple):
    """A check that has to fail, and the beginning of the cause that has to be named first; `{}` is the broken node."""

    check: str
    cause: str


RIGHT = {
    "resolver": Right("dns-resolver", "pods of {} go out with their own addresses"),
    "bridge": Right("service-same-node", "pods of {} are on a bridge and br_netfilter is off"),
    "carrier": Right("pod-udp", "the kernel of {} has lost its routes"),
    "groups-overlay": Right("pod-udp", "a security group does not let the tunnel's packets in"),
    "groups-pods": Right("pod-udp", "a security group does not let pods' addresses in"),
    "acl": Right("pod-udp", "a network ACL denies pods' addresses"),
    "source-dest-check": Right("pod-udp", "the source/dest check of an ENI is on"),
    "mtu": Right("pod-full-size", "a link in between carries smaller packets"),
    "kube-proxy": Right("service-same-node", "nothing translates Services on {}"),
    "coredns": Right("dns-inside", "no pod answers for the cluster's DNS"),
}
BENEATH = "do not reach each other: see pod-udp"
"""Ends the cause of a check that fails because another one does."""


@pytest.fixture(scope="module")
def chosen(fleet: Fleet, release: Release) -> dict[str, ClusterHost]:
    """A node by the name "here", and another one for each path from it."""
    found: dict[str, dict[str, str]] = {}
    for (source, target), kind in sorted(paths(fleet).items()):
        found.setdefault(source, {}).setdefault(kind, target)
    here = next(name for name, targets in found.items() if targets.keys() >= set(PATHS))
    return {"here": fleet.hosts[here], **{kind: fleet.hosts[target] for kind, target in found[here].items()}}


def checks(release: Release, *flags: str) -> list[dict[str, Any]]:
    """What a run of verify says."""
    said = json.loads(release.cloudroute("verify", "-o", "json", QUICK, *flags, codes=(0, 1)))
    return list(said["checks"])


def failures(release: Release, *flags: str) -> list[dict[str, Any]]:
    return [one for one in checks(release, *flags) if one["result"] == "failed"]


def words(found: list[dict[str, Any]]) -> Iterator[str]:
    """Failures, for a person."""
    for one in found:
        yield f"{one['name']} {one['from']} to {one['to']} ({one['path']}): {one['got']}: {one['causes'][:2]}"


def test_a_healthy_cluster_is_clean(release: Release) -> None:
    """All that a cluster of six nodes can be asked, webhooks and restarts too."""
    found = checks(release, "--webhooks", "--disrupt")
    assert not [*words([one for one in found if one["result"] == "failed"])]
    assert {one["path"] for one in found if one["name"] == "pod-path"} == set(PATHS)
    assert {one["name"] for one in found if one["result"] == "ok"} >= {"webhook", "disrupt-agent", "disrupt-leader"}
    skipped = [one for one in found if one["result"] == "skipped"]
    assert skipped == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_fault_is_told_with_its_cause_first(
    fleet: Fleet, release: Release, chosen: dict[str, ClusterHost], name: str
) -> None:
    nodes = dict.fromkeys(host.name for host in chosen.values())
    before = paths(fleet)
    with broken(fleet, name, chosen["here"]):
        found = failures(release, *(f"--nodes={node}" for node in nodes))
    eventually(lambda: paths(fleet) == before and release.settled(), "all is as before", 120, fleet.diagnosis)
    right = RIGHT[name]
    cause = re.compile(re.escape(right.cause).replace(r"\{\}", r"\S+"))
    assert right.check in {one["name"] for one in found}, "\n".join(words(found))
    others = [one for one in found if not cause.match(one["causes"][0]["cause"])]
    assert not [one for one in words(others) if BENEATH not in one], "each failure has the right cause first"
    assert {one["name"] for one in others} <= {"service-other-node", "dns-inside", "dns-outside"}


def test_a_cluster_that_is_mended_is_clean(release: Release) -> None:
    assert not [*words(failures(release))]
