"""The command `cloudroute doctor`: what programs and people get, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cloudroute.commands import doctor
from cloudroute.commands.command import Invocation
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.explain.doctor import Finding
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.lab.aws import ROOT_KEY
from tests.doctor.lab import NO_GATEWAYS, DoctorLab, doctor_lab


def invocation(form: Any) -> Invocation:
    settings: Any = {ControllerSettings: ControllerSettings(), OutputSettings: OutputSettings(output=form)}
    return Invocation(settings)


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_a_list(form: str, read: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Of objects with check, state, found, why and todo; the exit code tells whether one failed."""
    with doctor_lab() as broken:
        assert doctor.tell(invocation(form), broken.examine()) == 0
        capsys.readouterr()
        broken.daemon_set("aws-node")
        assert doctor.tell(invocation(form), broken.examine()) == 1
        listed = read(capsys.readouterr().out)
        assert all(set(one) == {"group", "check", "state", "found", "why", "todo"} for one in listed)
        assert [one["check"] for one in listed if one["state"] == "failed"] == ["other-networks"]


def test_people_get_a_table_of_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """By group; what is wrong with why and what to do."""
    with doctor_lab() as broken:
        broken.use_group(broken.make_group(), broken.names[0])
        deny = {"Effect": "Deny", "Action": "ec2:CreateRoute", "Resource": "*"}
        nowhere = Unknown("not root on Linux: run doctor on a node, with sudo or in the agent's pod")
        findings = broken.examine(deny, machine=nowhere)
        capsys.readouterr()
        assert doctor.tell(invocation("table"), findings) == 1
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 100
        headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
        assert headings[:4] == ["Kubernetes", "AWS", "VPC", "Node"]
        assert headings[4].startswith(f"{len(findings)} checks: ")
        assert out.count("Why: ") == out.count("To do: ") == sum(one.state == "failed" for one in findings)
        assert out.count("not root on Linux") == 1


def test_the_command_by_the_environments_credentials(
    shared: DoctorLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a shell: endpoint, key and settings come from outside; this machine is no node of that cluster."""
    with shared.aws.serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ROOT_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        settings = replace(shared.settings, kubeconfig=shared.kubeconfig)
        asked: Any = {ControllerSettings: settings, OutputSettings: OutputSettings(output="json")}
        capsys.readouterr()
        assert doctor.run(Invocation(asked)) == 0
    listed = [Finding(**one) for one in json.loads(capsys.readouterr().out)]
    unasked = {one.check for one in listed if one.group in ("Kubernetes", "VPC") and one.state != "ok"}
    assert unasked == {"rbac-agent", *NO_GATEWAYS}
    assert {one.state for one in listed if one.group == "Node"} == {"not checked"}
