"""`cloudroute verify` on a real cluster: clean while all is well, and each fault is told with its cause first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from cloudroute.lab.hosts.cluster import ClusterHost
from cloudroute.lab.kube.real import find_assets
from cloudroute.types import PATHS, Path
from tests.cluster.breaks import BREAKS, broken, vpc_host
from tests.cluster.fleet import Fleet
from tests.cluster.release import SPACE, Release
from tests.cluster.stage import EVERY_PATH, label_gateway
from tests.packets.labs import kinds, paths
from tests.policies.enforcer import image_values
from tests.policies.lab import NAME
from tests.required import lacking
from tests.waiting import eventually

QUICK = "--seconds=1"


def hurried(limit: str, seconds: float) -> tuple[str, ...]:
    """The program, with another time limit: MODULE.NAME of cloudroute.verify."""
    module = limit.partition(".")[0]
    words = f"from cloudroute.verify import {module}; {limit} = {seconds}; sys.exit(main())"
    return "-c", f"import sys; from cloudroute.cli import main; {words}"


class Right(NamedTuple):
    """A check that has to fail, and the beginning of the cause that has to be named first; `{}` is the broken node."""

    check: str
    cause: str
    flags: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "cloudroute")
    beside: tuple[Path, ...] = ("native",)
    """Paths from the broken node to the others that are asked: each one more makes a run longer."""


_TWO: tuple[Path, ...] = ("native", "overlay")
RIGHT = {
    "resolver": Right("dns-resolver", "pods of {} go out with their own addresses"),
    "bridge": Right("service-same-node", "pods of {} are on a bridge and br_netfilter is off"),
    "carrier": Right("pod-udp", "the kernel of {} has lost its routes", beside=("direct",)),
    "groups-overlay": Right("pod-udp", "a security group does not let the tunnel's packets in", beside=_TWO),
    "groups-pods": Right("pod-udp", "a security group does not let pods' addresses in", beside=_TWO),
    "acl": Right("pod-udp", "a network ACL denies pods' addresses", beside=_TWO),
    "source-dest-check": Right("pod-to-node", "the source/dest check of an ENI is on"),
    "mtu": Right("pod-full-size", "a link in between carries smaller packets"),
    "kube-proxy": Right("service-same-node", "nothing translates Services on {}"),
    "coredns": Right("dns-inside", "no pod answers for the cluster's DNS"),
    "firewall": Right("pod-to-own-node", "a firewall of {} itself keeps its pods out"),
    "plugin": Right("pod-starts", "the pod does not become Ready", program=hurried("stage.START_SECONDS", 15)),
    "enforcer": Right("policy-deny", "an enforcer runs and lets packets pass"),
    "api-server": Right("exec", "the API server does not reach the kubelet on port 10250"),
    "control-plane-group": Right("webhook", "a security group keeps the control plane from pods", ("--webhooks",)),
    "vpc-host": Right("vpc-host", "the host lets nodes in, and not pods' own addresses"),
}
CHECKS = {"webhook", "disrupt-agent", "disrupt-leader", "vpc-host", "host-port"}
"""Some of those that a flag asks for, or that have to be waited for."""
BENEATH = "do not reach each other: see pod-udp"
"""Ends the cause of a check that fails because another one does."""


@pytest.fixture(scope="module", autouse=True)
def _every_path(fleet: Fleet, release: Release) -> None:
    """Every kind of path, a gateway, and agents that stay frozen: nothing restarts them."""
    label_gateway(fleet)
    settings = (f"controller.settings.{name}={value}" for name, value in EVERY_PATH.items())
    release.upgrade("agent.maxUnavailable=100%", *settings)  # agents restart side by side from now on
    path = "/spec/template/spec/containers/0/livenessProbe"
    patch = json.dumps([{"op": "remove", "path": path}])
    release.kubectl("patch", "daemonset", "cloudroute-agent", "--namespace", SPACE, "--type=json", f"--patch={patch}")
    eventually(lambda: kinds(fleet) == set(PATHS), "there is every path", 120, fleet.diagnosis)
    eventually(release.rolled, "the agents have no liveness probe", 120, fleet.diagnosis)
    eventually(fleet.settled, "all is in place", 60, fleet.diagnosis)


@pytest.fixture(scope="module")
def chosen(fleet: Fleet) -> dict[str, ClusterHost]:
    """A node by the name "here", and another one for each path from it."""
    found: dict[str, dict[str, str]] = {}
    for (source, target), kind in sorted(paths(fleet).items()):
        found.setdefault(source, {}).setdefault(kind, target)
    here = next(name for name, targets in found.items() if targets.keys() >= set(PATHS))
    return {"here": fleet.hosts[here], **{kind: fleet.hosts[target] for kind, target in found[here].items()}}


@pytest.fixture(scope="module")
def vpc_hosts(fleet: Fleet) -> Iterator[tuple[str, ...]]:
    """Flags that name a host of the VPC, by both families."""
    with vpc_host(fleet) as host:
        yield tuple(f"--vpc-host={address}" for address in host.addresses)


def checks(release: Release, *flags: str, program: Sequence[str] = ("-m", "cloudroute")) -> list[dict[str, Any]]:
    """Run verify, and return its checks."""
    said = json.loads(release.cloudroute("verify", "-o", "json", QUICK, *flags, codes=(0, 1), program=program))
    return list(said["checks"])


def failed(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["result"] == "failed"]


def words(found: list[dict[str, Any]]) -> Iterator[str]:
    """Failures, for a person."""
    for one in found:
        yield f"{one['name']} {one['from']} to {one['to']} ({one['path']}): {one['got']}: {one['causes'][:2]}"


def test_a_healthy_cluster_is_clean(release: Release, vpc_hosts: tuple[str, ...]) -> None:
    """All that a cluster of six nodes can be asked, webhooks and restarts too."""
    found = checks(release, "--webhooks", "--disrupt", *vpc_hosts, program=hurried("disrupt.STREAM_SECONDS", 20))
    assert not [*words(failed(found))]
    assert {one["path"] for one in found if one["name"] == "pod-path"} == set(PATHS)
    assert {one["name"] for one in found if one["result"] == "ok"} >= CHECKS
    skipped = [one for one in found if one["result"] == "skipped"]
    assert skipped == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_fault_is_told_with_its_cause_first(
    fleet: Fleet, release: Release, chosen: dict[str, ClusterHost], vpc_hosts: tuple[str, ...], name: str
) -> None:
    right = RIGHT[name]
    flags = [*vpc_hosts, *right.flags, *(f"--nodes={chosen[place].name}" for place in ("here", *right.beside))]
    before = paths(fleet)
    with broken(fleet, name, chosen["here"]):
        found = failed(checks(release, *flags, program=right.program))
    eventually(lambda: paths(fleet) == before and fleet.settled(), "all is as before", 120, fleet.diagnosis)
    cause = re.compile(re.escape(right.cause).replace(r"\{\}", r"\S+"))
    assert right.check in {one["name"] for one in found}, "\n".join(words(found))
    others = [one for one in found if not cause.match(one["causes"][0]["cause"])]
    assert not [one for one in words(others) if BENEATH not in one], "each failure has the right cause first"
    assert {one["name"] for one in others} <= {"service-other-node", "dns-inside", "dns-outside"}


def test_a_cluster_that_is_mended_and_has_an_enforcer_is_clean(
    fleet: Fleet, release: Release, chosen: dict[str, ClusterHost]
) -> None:
    """No path, Service or name suffers from the chart's enforcers, and they are seen to keep packets out."""
    if find_assets(["netpol"]) is None:
        lacking("policies")
    release.upgrade("networkPolicies.enabled=true", *image_values())
    eventually(lambda: _enforcers(fleet) == len(fleet.hosts), "an enforcer runs on each node", 90, fleet.diagnosis)
    eventually(lambda: release.rolled() and fleet.settled(), "all is in place", 120, fleet.diagnosis)
    found = checks(release, *(f"--nodes={host.name}" for host in chosen.values()))
    assert not [*words(failed(found))]
    assert {one["path"] for one in found if one["name"] == "pod-path"} == set(PATHS)
    assert {one["result"] for one in found if one["name"] == "policy-deny"} == {"ok"}


def _enforcers(fleet: Fleet) -> int:
    return int(fleet.kube.get("daemonsets", NAME, SPACE)["status"].get("numberReady", 0))
