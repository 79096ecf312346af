"""The command line without a cluster: help that teaches, bad usage in words, pipes and signals, the lab's servers."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from cloudroute.cli import commands, main
from cloudroute.commands.command import Command
from cloudroute.commands.ending import exit_code
from cloudroute.commands.help import command_settings
from cloudroute.errors import CloudrouteError
from tests.cli.commands import PATIENCE, end, exports_of, run, started

EACH_COMMAND = pytest.mark.parametrize("command", commands(), ids=[command.name for command in commands()])


# --- help ---------------------------------------------------------------------------------------


@EACH_COMMAND
def test_help_teaches_every_flag_with_its_default(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The effect, each flag, its unit, default and reason, and an example."""
    with pytest.raises(SystemExit) as ended:
        main([*command.name.split(), "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert " ".join(command.text.split()) in text
    assert all(line.strip() in text for line in (" ".join(line.split()) for line in command.example.splitlines()))
    for setting in command_settings(command):
        assert f"{setting.flag} " in text
        assert f"{setting.meaning} [default: {setting.shown_default or 'none'}" in text.replace("- ", "-")
        assert setting.unit in text


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["lab", "--help"]])
def test_help_lists_the_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what it is for."""
    assert main(words) == 0
    text = capsys.readouterr().out
    for command in commands():
        if words[0] != "lab" or command.name.startswith("lab "):
            assert f"{command.name} " in text
            assert command.summary in text


def test_no_command_is_bad_usage_and_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: stdout carries results."""
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "cloudroute COMMAND" in err


def test_the_version_is_printed() -> None:
    """And nothing else."""
    assert run("--version").stdout.startswith("cloudroute 0.")


def test_help_loads_no_client() -> None:
    """It answers at once, since what is slow to import is imported by the command that needs it."""
    code = (
        "import sys, cloudroute.cli as c; c.main(['--help']); "
        "print([m for m in ('boto3', 'botocore', 'kubernetes', 'moto', 'rich', 'structlog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_loads_no_other_command() -> None:
    """Each start of an agent would pay for the checks of doctor."""
    code = (
        "import sys, cloudroute.cli as c; from contextlib import suppress\n"
        "with suppress(SystemExit): c.main(['agent', '--help'])\n"
        "print(sorted(m for m in sys.modules if m.startswith(('cloudroute.commands.', 'cloudroute.core.explain'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shared = {"command", "ending", "help", "output", "serving"}
    assert done.stdout.splitlines()[-1] == str(sorted(f"cloudroute.commands.{name}" for name in {"agent", *shared}))


def test_an_agent_loads_neither_boto3_nor_the_controller() -> None:
    """An agent runs on every node: its memory counts as often."""
    code = """
import sys
from contextlib import suppress
from cloudroute import wiring
from cloudroute.config import AgentSettings
from cloudroute.errors import CloudrouteError
from cloudroute.telemetry import AgentTelemetry
settings = AgentSettings(kubeconfig="/nonexistent")
with suppress(CloudrouteError):
    wiring.agent(settings, wiring.kernel(settings), AgentTelemetry())
unwanted = ("boto3", "botocore", "cloudroute.controller", "cloudroute.core.cluster.members")
print([m for m in (*unwanted, "cloudroute.agent.process") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['cloudroute.agent.process']"


def test_the_crds_are_printed_as_yaml() -> None:
    """For kubectl apply -f -."""
    names = [document["metadata"]["name"] for document in yaml.safe_load_all(run("crd").stdout)]
    assert names == ["noderoutes.cloudroute.io", "routetables.cloudroute.io"]


# --- bad usage ----------------------------------------------------------------------------------


def test_all_mistakes_of_a_command_line_are_reported_at_once(tmp_path: Path) -> None:
    """Unknown flags, missing values, wrong values, file and environment; exit code 2, one line each, on stderr."""
    config = tmp_path / "cloudroute.yaml"
    config.write_text("route_limit: 7\nlisten: nowhere\n")
    done = run(
        *("controller", "stray", "--route-limti", "5", "--node-mask-v4", "33", "--region", "--config", str(config)),
        env={"CLOUDROUTE_OVERLAY": "perhaps"},
        code=2,
    )
    assert not done.stdout
    lines = done.stderr.splitlines()
    for start in (
        "--route-limti: unknown flag: did you mean --route-limit?",
        "stray: expected flags only",
        "--node-mask-v4 33: expected a whole number from 16 to 28",
        "--region: no value, expected an AWS region",
        f"route_limit: unknown key (in {config}): did you mean route-limit?",
        f"listen: nowhere (in {config}): expected",
        "CLOUDROUTE_OVERLAY=perhaps: expected on or off",
        "--cluster-cidr is missing",
    ):
        assert any(line.startswith(f"cloudroute: {start}") for line in lines), start
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["contorller"], "contorller: unknown command: did you mean controller?"),
        (["zzz"], "zzz: unknown command; see cloudroute --help"),
        (["--once", "controller"], "--once: expected a command first; see cloudroute --help"),
        (["lab"], "lab: expected lab up or lab status or lab ping or"),
        (["lab", "azure"], "lab azure: expected lab up or lab status or lab ping or"),
        (["path", "a"], "a: expected SRC DST"),
        (["path"], "path: expected SRC DST"),
        (["path", "a", "b", "c"], "a b c: expected SRC DST"),
        (["path", "a", "b", "--overlay"], "--overlay: no value, expected on or off"),
        (["status", "--config"], "--config: no value, expected a file's path"),
        (["status", "--config", "/nonexistent"], "--config /nonexistent: can't be read: No such file or directory"),
        (["status", "-o", "xml"], "--output xml: expected table, json or yaml"),
        (["crd", "--region", "eu-central-1"], "--region: unknown flag; see cloudroute crd --help"),
        (["status", "--once", "stray"], "stray: expected flags only"),
        (["status", "--once=1"], "--once 1: expected true or false"),
        (["lab", "aws", "--route-quota=0"], "--route-quota 0: expected a whole number from 1 to 1000"),
    ],
)
def test_bad_usage_says_what_was_expected(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One mistake, one sentence, exit code 2."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"cloudroute: {says}")
    assert len(err.splitlines()) == 1


def test_given_values_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A flag's value is named on the one line of its mistake, whatever is in it."""
    assert main(["status", "--cluster-cidr", "\x1b[2J\nfine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cloudroute: --cluster-cidr ")
    assert r"\x1b[2J\nfine" in line


def test_lines_of_a_failure_are_told_from_line_breaks_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of an error begins a line; a line break inside one is escaped."""

    def fail() -> int:
        raise CloudrouteError("refused: no\nok", "the log:", "a\rb")

    assert exit_code(fail) == 1
    assert capsys.readouterr().err.splitlines() == [r"cloudroute: refused: no\nok", "the log:", r"a\rb"]


@pytest.mark.parametrize("flag", ["--route-limit=9", "--route-limit 9", "--once", "--once true", "--once=false"])
def test_flags_and_words_are_told_apart(flag: str) -> None:
    """Words may stand between flags, and a switch takes none of them for its value."""
    done = run("path", *flag.split(), "a", "--kubeconfig", "/nonexistent", "b", code=2)
    assert done.stderr.splitlines()[0].startswith("cloudroute: --kubeconfig /nonexistent can't be used")


# --- the lab, pipes and signals -----------------------------------------------------------------


def test_lab_aws_serves_boto3_with_what_it_prints() -> None:
    """The endpoint, the region and keys; Ctrl-C ends it."""
    with started("lab", "aws", "--listen", "127.0.0.1:0", "--region", "us-west-2", env={}) as process:
        exports = exports_of(process)
        ec2 = boto3.client(
            "ec2",
            endpoint_url=exports["AWS_ENDPOINT_URL"],
            region_name=exports["AWS_REGION"],
            aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        )
        zones = ec2.describe_availability_zones()["AvailabilityZones"]
        ec2.close()
        assert {zone["RegionName"] for zone in zones} == {"us-west-2"}
        end(process, signal.SIGINT)


def test_lab_kube_serves_status_with_what_it_prints(tmp_path: Path) -> None:
    """SIGTERM ends it."""
    file = str(tmp_path / "config")
    with started("lab", "kube", "--listen", "127.0.0.1:0", "--kubeconfig", file, env={}) as process:
        exports = exports_of(process)
        assert exports["KUBECONFIG"] == exports["CLOUDROUTE_KUBECONFIG"] == file
        assert "cloudroute crd | kubectl apply -f -" in run("status", env=exports, code=1).stderr
        end(process, signal.SIGTERM)


def test_a_reader_that_leaves_is_no_error() -> None:
    """cloudroute crd | head -0: nothing on stderr."""
    with started("crd", env={}) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1
