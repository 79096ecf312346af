"""`path --probe` tries what `path` says: between any two places of a lab, and it notices when it is not so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cloudroute.cli import main
from cloudroute.lab.hosts import channel
from cloudroute.lab.hosts.netns import Namespace

NAME = "probe"
KUBECONFIG = str(channel.RUN / NAME / "kubeconfig")


@pytest.fixture(scope="module")
def status() -> Iterator[dict[str, object]]:
    """A lab that stays up, as a person starts it: four hosts, tables with room for one."""
    flags = ("--name", NAME, "--nodes", "4", "--zones", "2", "--route-limit", "3", "--pods", "1")
    subprocess.run([sys.executable, "-m", "cloudroute", "lab", "up", *flags], check=True)
    try:
        yield channel.ask(NAME, {"do": "status"})
    finally:
        subprocess.run([sys.executable, "-m", "cloudroute", "lab", "down", "--name", NAME], check=True)


def probed(capsys: pytest.CaptureFixture[str], source: str, target: str, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    assert main(["path", source, target, "--probe", "--kubeconfig", KUBECONFIG, "-o", "json"]) == code
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_packets_take_the_predicted_path(status: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    hosts = status["hosts"]
    assert isinstance(hosts, list)
    first = hosts[0]
    pod, node = first["pods"][0]["addresses"], first["addresses"]
    internet = next(one["addresses"] for one in status["others"] if one["name"] == "internet")  # type: ignore[attr-defined]
    ends = [(first["name"], host["name"]) for host in hosts[1:]]
    for host in hosts[1:]:
        ends += [(pod[0], host["addresses"][0]), (node[1], host["pods"][0]["addresses"][1])]
        ends += [(node[0], host["addresses"][0])]
    ends += [(pod[0], internet[0]), (pod[1], internet[1]), (internet[0], pod[0]), (pod[0], node[0])]
    seen = set()
    for source, target in ends:
        found = probed(capsys, source, target)
        assert found["probes"], (source, target)
        seen.add(found["path"])
    assert {"direct", "overlay", "vpc", "none", "local"} <= seen


def test_packets_that_go_another_way_are_noticed(status: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    hosts = status["hosts"]
    assert isinstance(hosts, list)
    one, other = hosts[0], hosts[1]
    assert main(["lab", "break", "--name", NAME, "freeze-agent", one["name"]]) == 0
    namespace = Namespace(one["namespace"])
    try:
        for line in namespace.run("ip", "nexthop", "show", "protocol", "88").splitlines():
            if other["addresses"][0] in line:
                number = line.split()[1]
        namespace.run(
            "ip", "nexthop", "replace", "id", number, "via", "10.0.0.1", "dev", "eth0", "onlink", "protocol", "88"
        )
        found = probed(capsys, one["name"], other["name"], code=1)
        assert "it went native and not direct" in json.dumps(found["probes"])
    finally:
        assert main(["lab", "break", "--name", NAME, "thaw-agent", one["name"]]) == 0


def test_it_is_for_labs_only(capsys: pytest.CaptureFixture[str], status: dict[str, object]) -> None:
    copy = channel.RUN.parent / "cloudroute-probe-test"
    copy.write_text((channel.RUN / NAME / "kubeconfig").read_text())
    try:
        assert main(["path", "node-1", "node-2", "--probe", "--kubeconfig", str(copy)]) == 1
    finally:
        copy.unlink()
    assert "works in a lab only" in capsys.readouterr().err
