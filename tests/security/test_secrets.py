"""Credentials and tokens appear in no output, whatever fails: all output of real processes is searched."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controller.lab import POOL
from tests.controller.servers import Servers, servers
from tests.hosts import require_netns
from tests.waiting import eventually

MARK = "s3cr3t"
"""Part of each secret, and of nothing else."""
TOKEN = f"{MARK}-token.eyJhbGciOi"
UNREACHABLE = "https://127.0.0.1:1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Servers]:
    """Servers, and an environment with secrets for the commands under test."""
    with servers(tmp_path) as made:
        made.environment |= {
            "AWS_ACCESS_KEY_ID": f"AKIA{MARK}",
            "AWS_SECRET_ACCESS_KEY": f"{MARK}-key",
            "AWS_SESSION_TOKEN": f"{MARK}-session",
            "PYTHONFAULTHANDLER": "1",
        }
        yield made


def kubeconfig(folder: Path, server: str, **user: Any) -> Path:
    """A kubeconfig with a user whose credentials are secrets."""
    path = folder / "kubeconfig-secret"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": TOKEN}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def run(world: Servers, command: str, *flags: str, until: str, **environment: str) -> str:
    """Output of a command until it contains `until` and is ended, or until it ends by itself."""
    log = world.folder / "words.log"
    own = ("--cluster-name=test", *["--listen=127.0.0.1:0"] * (command == "controller"))
    line = [sys.executable, "-m", "cloudroute", command, f"--cluster-cidr={POOL}", *own, *flags]
    return said(line, log, until, {**world.environment, **environment})


def said(line: list[str], log: Path, until: str, environment: dict[str, str]) -> str:
    with log.open("w") as out:
        process = subprocess.Popen(line, stdout=out, stderr=out, env=environment)
    try:
        eventually(
            lambda: until in log.read_text() or process.poll() is not None, "the log says it, or the command ends"
        )
        process.terminate()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
    words = log.read_text()
    assert until in words, words
    return words


def check_silent(words: str) -> None:
    assert MARK not in words, next(line for line in words.splitlines() if MARK in line)


@pytest.mark.parametrize("command", ["controller", "plan", "status", "doctor"])
def test_an_api_server_that_can_not_be_reached(world: Servers, tmp_path: Path, command: str) -> None:
    """The output names the address, and no token."""
    path = kubeconfig(tmp_path, UNREACHABLE)
    check_silent(run(world, command, f"--kubeconfig={path}", "--log-level=debug", until="127.0.0.1:1"))


@pytest.mark.parametrize(("code", "verbs"), [(401, "list"), (403, "*")])
def test_a_token_that_the_api_server_refuses(world: Servers, tmp_path: Path, code: int, verbs: str) -> None:
    """A refused token, by 401 or by 403 for each request, is in no output."""
    world.kube.faults.fail(code, verbs, count=math.inf)
    path = kubeconfig(tmp_path, world.api.url)
    words = run(
        world,
        "controller",
        f"--kubeconfig={path}",
        "--log-level=debug",
        until={401: "401", 403: "Allow the verb"}[code],
    )
    check_silent(words)


@pytest.mark.parametrize("code", ["AuthFailure", "UnauthorizedOperation", "ExpiredToken"])
def test_credentials_that_ec2_refuses(world: Servers, tmp_path: Path, code: str) -> None:
    """Refused AWS credentials appear neither in the log nor in Events nor in metrics."""
    world.aws.faults.fail("*", code, times=None)
    world.join("n1")
    controller = world.start("--log-level=debug")
    try:
        eventually(lambda: code in controller.log.read_text(), "the log has the code")
        metrics = controller.get("/metrics")[1]
        ready = controller.get("/readyz")[1] + controller.get("/healthz")[1]
    finally:
        controller.close()
    events = str(world.kube.list("events", "default"))
    for words in (controller.log.read_text(), metrics, ready, events, str(world.kube.list("nodes"))):
        check_silent(words)


def test_settings_with_keys_and_values_that_are_none(world: Servers, tmp_path: Path) -> None:
    """An unknown key is named without its value."""
    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump({"aws-secret-access-key": f"{MARK}-file", "token": [TOKEN], "password": {"a": TOKEN}})
    )
    words = run(
        world, "controller", f"--config={file}", until="password", CLOUDROUTE_AWS_SECRET_ACCESS_KEY=f"{MARK}-env"
    )
    for key in ("aws-secret-access-key", "token", "password"):
        assert key in words
    check_silent(words)


BROKEN = (
    "token: {token}\n\tbad: [",
    "apiVersion: v1\nusers: [{{name: u, user: {{token: {token}}}}}\n",
    '"{token}"',
    "users:\n- name: u\n  user: {{token: {token}\n",
    "current-context: c\ncontexts: []\nusers: {token}\n",
)


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_kubeconfig_that_can_not_be_read(world: Servers, tmp_path: Path, content: str) -> None:
    """A malformed kubeconfig is reported without its content."""
    path = tmp_path / "broken"
    path.write_text(content.format(token=TOKEN))
    check_silent(run(world, "controller", f"--kubeconfig={path}", until="--kubeconfig"))


@pytest.mark.parametrize(
    "script", [f"echo '{TOKEN}'", f"echo '{TOKEN}'; exit 1", "exit 1"], ids=["no JSON", "fails", "silent"]
)
def test_an_exec_plugin_that_fails(world: Servers, tmp_path: Path, script: str) -> None:
    """The failed plugin's stdout, where a token would be, is in no output."""
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(0o755)
    way = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    path = kubeconfig(tmp_path, world.api.url, exec=way)
    check_silent(run(world, "controller", f"--kubeconfig={path}", "--log-level=debug", until="exec"))


def test_a_proxy_with_a_password(world: Servers, tmp_path: Path) -> None:
    """The password of an unreachable proxy is in no output."""
    path, proxy = kubeconfig(tmp_path, UNREACHABLE), f"http://user:{MARK}-proxy@127.0.0.1:1"
    check_silent(run(world, "controller", f"--kubeconfig={path}", until="127.0.0.1:1", HTTPS_PROXY=proxy))


def test_urls_with_a_password_in_them(world: Servers, tmp_path: Path) -> None:
    """URLs of the API server and EC2 are shown by host, without user and password."""
    path = kubeconfig(tmp_path, f"https://user:{MARK}-url@127.0.0.1:1")
    check_silent(run(world, "controller", f"--kubeconfig={path}", until="127.0.0.1:1"))
    world.join("n1")
    path, endpoint = world.kubeconfig, f"http://user:{MARK}-endpoint@127.0.0.1:1"
    check_silent(run(world, "controller", f"--kubeconfig={path}", until="DescribeInstances", AWS_ENDPOINT_URL=endpoint))


def test_an_agent_without_its_api_server(world: Servers, tmp_path: Path) -> None:
    """An agent without its API server reports the failed watch, and no token."""
    require_netns()
    path = kubeconfig(tmp_path, UNREACHABLE)
    line = ["unshare", "--net", sys.executable, "-m", "cloudroute", "agent", "--node-name=n1", f"--cluster-cidr={POOL}"]
    line += [f"--kubeconfig={path}", f"--cni-conf-dir={tmp_path}", "--listen=127.0.0.1:0", "--log-level=debug"]
    check_silent(said(line, tmp_path / "agent.log", "127.0.0.1:1", world.environment))
