"""The guides name existing alerts, panels, permissions, ports and tests; of the first three, all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cloudroute.config import AgentSettings
from cloudroute.config.declare import settings_of
from tests.docs.pages import ROOT, Page
from tests.docs_guides import pages

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"


def manifest(kind: str, name: str) -> Any:
    """A document of the rendered manifests."""
    documents = yaml.safe_load_all((DEPLOY / "cloudroute.yaml").read_text())
    return next(one for one in documents if one and (one["kind"], one["metadata"]["name"]) == (kind, name))


# --- operations -------------------------------------------------------------------------------


def test_each_alert_is_explained() -> None:
    """The alerts of the chart, in its order, each with a heading and words."""
    files = CHART / "files"
    groups = yaml.safe_load((files / "rules.yaml").read_text())["groups"]
    groups += yaml.safe_load((files / "rules-gateways.yaml").read_text())
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    explained = pages.section(pages.read("operations"), "Alerts")
    assert pages.headings(explained, 3) == alerts


def test_each_panel_is_explained() -> None:
    """The panels of the dashboard, in its order."""
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    rows = pages.table(pages.section(pages.read("operations"), "Dashboard"))
    assert [row[0] for row in rows] == [panel["title"] for panel in dashboard["panels"]]


# --- security ---------------------------------------------------------------------------------


def iam(document: str) -> Iterator[tuple[str, str, str]]:
    """Action, resource and keys of the conditions of each statement."""
    for statement in json.loads((DEPLOY / "iam" / document).read_text())["Statement"]:
        actions = statement["Action"]
        keys = sorted(key for condition in statement.get("Condition", {}).values() for key in condition)
        for action in [actions] if isinstance(actions, str) else actions:
            yield action, statement["Resource"].rpartition(":")[2], ", ".join(keys) or "none"


def test_the_iam_table_is_the_policy() -> None:
    """Actions, resources and conditions, in the policy's order; each has a reason."""
    rows = pages.table(pages.section(pages.read("security"), "IAM"))
    assert [row[:3] for row in rows] == list(iam("policy.json"))
    assert all(row[3] for row in rows)


def rbac(account: str) -> Iterator[tuple[str, ...]]:
    """Account, where, group, resources and verbs of each rule."""
    for one in yaml.safe_load_all((DEPLOY / "rbac" / f"{account}.yaml").read_text()):
        where = {"cloudroute": "its namespace", None: "cluster"}
        for rule in one.get("rules", ()):
            namespace = one["metadata"].get("namespace")
            resources = ", ".join(rule["resources"])
            if names := rule.get("resourceNames"):
                resources += f" named {', '.join(names)}"
            groups = ", ".join(group or "core" for group in rule["apiGroups"])
            yield account, where.get(namespace, namespace), groups, resources, ", ".join(rule["verbs"])


def test_the_rbac_table_is_the_rules() -> None:
    """Of both accounts, in the order of the files; each has a reason."""
    rows = pages.table(pages.section(pages.read("security"), "Kubernetes RBAC"))
    assert [row[:5] for row in rows] == [*rbac("controller"), *rbac("agent")]
    assert all(row[5] for row in rows)


def test_permissions_of_the_agent_on_a_node() -> None:
    """Its security context and its mounts are those of the manifests."""
    text = pages.section(pages.read("security"), "The agent on a node")
    pod = manifest("DaemonSet", "cloudroute-agent")["spec"]["template"]["spec"]
    (agent,) = pod["containers"]
    (context,) = Page("security", text).blocks
    told = yaml.safe_load(context.text)["securityContext"]
    assert told == {key: value for key, value in agent["securityContext"].items() if key in told}
    assert set(agent["securityContext"]) - set(told) <= {"seLinuxOptions", "appArmorProfile"}
    mounts = {mount["mountPath"]: not mount.get("readOnly", False) for mount in agent["volumeMounts"]}
    assert {row[0]: row[2] == "yes" for row in pages.table(text)} == mounts


def test_ports() -> None:
    """Ports on the page are those of the chart's values and of the agent's default."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    told = [int(row[0].split()[1]) for row in pages.table(pages.section(pages.read("security"), "The network"))]
    vxlan = next(setting.default for setting in settings_of(AgentSettings) if setting.key == "vxlan-port")
    assert told == [vxlan, values["controller"]["port"], values["agent"]["port"]]


# --- all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", pages.GUIDES)
def test_tests_that_are_named_exist(guide: str) -> None:
    """Each named `tests/a/test_b.py::test_c` exists."""
    assert pages.tests_that_are_not_there(pages.read(guide)) == []


# --- what checks can fail ---------------------------------------------------------------------


def test_a_wrong_page_is_noticed() -> None:
    """Tests that are not there, and a heading that is not there."""
    text = "`tests/core/test_slots.py::test_nothing`, `tests/nowhere.py::test_a`"
    assert len(pages.tests_that_are_not_there(text)) == 2
    with pytest.raises(KeyError):
        pages.section(text, "Alerts")


def test_sections_and_tables() -> None:
    """A section ends at the next heading of its level; a table loses its head and its quotes."""
    text = "## A\n\n| x | y |\n| --- | --- |\n| `1` | 2 |\n\n### B\n\n## D\n\n### E\n"
    assert pages.table(pages.section(text, "A")) == [("1", "2")]
    assert pages.headings(pages.section(text, "A"), 3) == ["B"]
