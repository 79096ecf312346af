"""Whether doctor finds what the chart's accounts lack, on a real API server that enforces RBAC."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.clock import SystemClock
from cloudroute.commands.doctor_facts import gather
from cloudroute.config import ControllerSettings
from cloudroute.core.explain.doctor import Finding, examine
from cloudroute.core.explain.doctor.cluster import agent_permissions, permissions
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.lab.kube.real import RealKubeApi
from tests.accounts import AGENT, CONTROLLER, GATEWAYS, gateways_allowed, install
from tests.doctor.lab import GATEWAYS as SELECTED
from tests.doctor.lab import found
from tests.doctor.test_review import granted
from tests.waiting import eventually


def kubernetes(kube: RealKubeApi, tmp_path: Path, user: str = "admin", **given: Any) -> list[Finding]:
    """The findings of doctor as that user, of permissions alone: the server has Nodes of other tests."""
    settings = ControllerSettings(kubeconfig=str(kube.kubeconfig(tmp_path / user, user)), **given)
    nowhere = Unknown("it is not asked here")
    findings = examine(gather(settings, nowhere, SystemClock(), lambda: nowhere))
    return [finding for finding in findings if finding.check in ("rbac", "rbac-agent")]


def failures(findings: list[Finding]) -> dict[str, str]:
    """Check to what was found, of those that failed."""
    return {finding.check: finding.found for finding in findings if finding.state == "failed"}


@pytest.fixture(scope="module")
def installed(real_kube: RealKubeApi) -> RealKubeApi:
    """Both accounts have their permissions."""
    install(real_kube, AGENT)
    return real_kube


@contextlib.contextmanager
def without(kube: RealKubeApi, kind: str, name: str, resource: str, verb: str) -> Iterator[None]:
    """A role that lacks one verb on one resource, for a while."""
    namespace = "" if kind == "clusterroles" else "cloudroute"
    before = kube.get(kind, name, namespace)["rules"]
    rules: list[Any] = [
        {**rule, "verbs": [one for one in rule["verbs"] if one != verb]} if resource in rule["resources"] else rule
        for rule in before
    ]
    kube.patch(kind, name, {"rules": [rule for rule in rules if rule["verbs"]]}, namespace)
    try:
        yield
    finally:
        kube.patch(kind, name, {"rules": before}, namespace)


def test_the_permissions_of_agents_are_those_of_the_manifest() -> None:
    """Each verb of deploy/rbac/agent.yaml is asked for, and no other."""
    assert set(agent_permissions("cloudroute")) == granted(AGENT)


def test_gateways_need_more() -> None:
    """With --gateway-nodes each verb of deploy/rbac/gateways is asked for besides."""
    wanted = {*permissions("cloudroute", gateways=True), *agent_permissions("cloudroute", gateways=True)}
    assert wanted == granted(CONTROLLER) | granted(AGENT) | granted(GATEWAYS)


def test_permissions_that_gateways_need_are_found_missing(installed: RealKubeApi, tmp_path: Path) -> None:
    """By both accounts' checks, which name the manifest that gives them."""
    lacking = kubernetes(installed, tmp_path, **SELECTED)
    assert failures(lacking) == {
        "rbac": "the controller's account may not: list leases.coordination.k8s.io in cloudroute, "
        "watch leases.coordination.k8s.io in cloudroute",
        "rbac-agent": "the agents' account may not: create leases.coordination.k8s.io in cloudroute, "
        "patch leases.coordination.k8s.io in cloudroute",
    }
    assert all("-f deploy/rbac/gateways" in finding.todo for finding in lacking)
    with gateways_allowed(installed):
        assert failures(kubernetes(installed, tmp_path, **SELECTED)) == {}


def test_both_accounts_are_asked_for_in_their_names(installed: RealKubeApi, tmp_path: Path) -> None:
    """An administrator is told that the accounts lack nothing."""
    findings = kubernetes(installed, tmp_path)
    assert failures(findings) == {}
    assert found(findings, "rbac").found == "the controller's account may do all that the controller needs"
    assert found(findings, "rbac-agent").state == "ok"


@pytest.mark.parametrize(
    ("check", "kind", "name", "resource", "verb", "named"),
    [
        ("rbac", "clusterroles", "cloudroute-controller", "nodes/status", "patch", "patch nodes/status"),
        (
            "rbac",
            "roles",
            "cloudroute-controller",
            "leases",
            "update",
            "update leases.coordination.k8s.io in cloudroute",
        ),
        ("rbac-agent", "clusterroles", "cloudroute-agent", "noderoutes", "watch", "watch noderoutes.cloudroute.io"),
    ],
)
def test_a_verb_that_an_account_lacks_is_found(
    installed: RealKubeApi, tmp_path: Path, check: str, kind: str, name: str, resource: str, verb: str, named: str
) -> None:
    """Although who asks may do everything. The other account's check does not fail."""
    with without(installed, kind, name, resource, verb):
        # The server hears of the change a moment later.
        said = eventually(lambda: failures(kubernetes(installed, tmp_path)), "a check fails")
        assert said.keys() == {check}
        assert said[check].startswith(
            "the controller's account may not: " if check == "rbac" else "the agents' account"
        )
        assert named in said[check]
    eventually(lambda: not failures(kubernetes(installed, tmp_path)), "all is well again")


def test_accounts_that_are_not_there_lack_everything(installed: RealKubeApi, tmp_path: Path) -> None:
    """As in a namespace where nothing is installed."""
    findings = kubernetes(installed, tmp_path, namespace="elsewhere")
    assert failures(findings).keys() == {"rbac", "rbac-agent"}
    assert f"and {len(permissions('elsewhere')) - 5} more" in found(findings, "rbac").found


def test_an_account_that_may_not_ask_for_others(installed: RealKubeApi, tmp_path: Path) -> None:
    """The controller itself: what its own account may is checked, and that the agents' can't be is said."""
    findings = kubernetes(installed, tmp_path, "controller")
    assert found(findings, "rbac").found == "the account in use may do all that the controller needs"
    agent = found(findings, "rbac-agent")
    assert (agent.state, agent.found) == (
        "not checked",
        "create subjectaccessreviews.authorization.k8s.io is refused, and the controller does not need it: "
        "run doctor as an administrator",
    )
