"""A lab that stays up: its commands run as processes, and the channel to its daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.commands import hosts as lab_hosts
from cloudroute.lab.commands.breaks import WHATS
from cloudroute.lab.hosts import breaks, channel
from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.netns import Namespace, leftovers
from tests.hosts import require_cni, require_netns
from tests.required import lacking
from tests.waiting import eventually

NAME = f"crtr{os.getpid() % 10**6}"
PATIENCE = 60.0
HOSTS = ["node-1", "node-2"]


def started(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "cloudroute", "lab", *words]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def lab(*words: str, code: int = 0, stdin: str = "", name: str = NAME) -> str:
    """Run `cloudroute lab WORDS` and return its stdout, or its stderr where it fails as expected."""
    verb, *rest = words
    with started(verb, "--name", name, *rest) as process:
        out, err = process.communicate(stdin, timeout=120)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return out if code == 0 else out + err


def status() -> Any:
    """The lab's state, as the daemon answers the commands."""
    return channel.ask(NAME, {"do": "status"})


def broken(what: str, word: str = "") -> None:
    """Apply a fault as `lab break` does."""
    channel.ask(NAME, {"do": "break", "what": what, "word": word})


def answers(source: str, target: str, name: str = NAME) -> bool:
    """Whether one ping in each family is answered."""
    places = lab_hosts.places(channel.ask(name, {"do": "status"}))
    namespace = Namespace(places[source].namespace)
    said = [namespace.run("ping", "-c1", "-W1", address, check=False) for address in places[target].addresses]
    return all(" 1 received" in one for one in said)


def host(name: str) -> Mapping[str, Any]:
    return next(host for host in status()["hosts"] if host["name"] == name)


def need_all() -> None:
    require_netns()
    require_cni()


@pytest.fixture(scope="module")
def up() -> Iterator[str]:
    """Output of `lab up` with two hosts in two zones, each with a pod."""
    need_all()
    try:
        said = lab("up", "--nodes", "2", "--zones", "2", "--pods", "1")
        # Ready by the overlay; the routes settle a second later.
        eventually(lambda: {one["path"] for one in status()["hosts"]} == {"native"}, "all hosts are native")
        yield said
    finally:
        lab("down")


# --- the commands -------------------------------------------------------------------------------


def test_up_says_what_to_do_next(up: str) -> None:
    """`lab up` prints the path of the kubeconfig, and commands that work as printed."""
    assert "2 hosts, 2 pods" in up
    kubeconfig = up.split("KUBECONFIG=")[1].split()[0]
    assert Path(kubeconfig).exists()
    assert f"cloudroute lab ping --name {NAME} node-1/a node-2/a" in up


def test_status_shows_hosts_pods_and_tables(up: str) -> None:
    """`lab status` prints JSON and a table."""
    shown = json.loads(lab("status", "-o", "json"))
    assert [host["name"] for host in shown["hosts"]] == HOSTS
    for one in shown["hosts"]:
        assert one["path"] == "native"
        assert one["agent"] == "running"
        assert [len(one["addresses"]), len(one["pods"]), len(one["pods"][0]["addresses"])] == [2, 1, 2]
    # `local` and the default route, and one for each node.
    assert [(table["ipv4"], table["ipv6"], table["limit"]) for table in shown["tables"]] == [(4, 4, 50)] * 2
    assert shown["api"] == "running"
    lines = lab("status").splitlines()
    assert lines[0].split() == ["HOST", "ZONE", "ADDRESSES", "PATH", "AGENT", "INSTANCE"]
    assert lines[1].split()[3:5] == ["native", "running"]
    assert any(line.startswith("node-2/a ") for line in lines)


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [
        ("node-1/a", "node-2/a", "native"),
        ("node-1", "node-2/a", "native"),
        pytest.param("node-2/a", f"cr-{NAME}-node-1-a", "native", id="namespace"),
        ("node-1/a", "node-1", "local"),
        ("node-1/a", "internet", None),
    ],
)
def test_ping_counts_and_names_the_path(up: str, source: str, target: str, path: str | None) -> None:
    """`lab ping` takes hosts and pods by either of their names, pings both families, and names the path."""
    eventually(lambda: answers(source, target), "the pod answers")
    answer = json.loads(lab("ping", source, target, "--count", "3", "-o", "json"))
    assert answer["path"] == path
    assert [(one["sent"], one["received"], one["lossPercent"]) for one in answer["results"]] == [(3, 3, 0.0)] * 2
    assert [":" in one["address"] for one in answer["results"]] == [False, True]


def test_ping_that_gets_no_answer_fails(up: str) -> None:
    """A ping without an answer exits with 1 and prints the loss."""
    rules = "table inet crtr { chain c { type filter hook input priority 0; meta l4proto { icmp, icmpv6 } drop; }; }"
    lab("exec", "node-2", "--", "nft", "-f", "-", stdin=rules)
    shown = lab("ping", "node-1", "node-2", "--count", "2", code=1)
    lab("exec", "node-2", "--", "nft", "delete", "table", "inet", "crtr")
    assert "100%" in shown


def test_exec_is_the_command(up: str) -> None:
    """`lab exec` passes on input, output, exit code and flags, in a host as in a pod."""
    assert lab("exec", "node-1", "--", "cat", "-", stdin="over\n") == "over\n"
    assert lab("exec", "node-1/a", "--", "sh", "-c", "exit 7", code=7) == ""
    assert host("node-1")["pods"][0]["addresses"][0] in lab("exec", "node-1/a", "--", "ip", "-o", "-4", "address")


def test_agents_are_stopped_and_started(up: str) -> None:
    """Status shows each agent as stopped, frozen or running, and packets arrive meanwhile."""
    for what, state in (
        ("freeze-agent", "frozen"),
        ("thaw-agent", "running"),
        ("kill-agent", "stopped"),
        ("start-agent", "running"),
        ("stop-agent", "stopped"),
        ("start-agent", "running"),
    ):
        broken(what, "node-1")
        eventually(lambda: host("node-1")["agent"] == state, "the agent is in that state")  # noqa: B023 - asked before the next
        assert answers("node-1/a", "node-2/a")


@pytest.mark.parametrize(
    "what",
    ["delete-device", "down-device", "set-mac", "flush-neighbours", "delete-routes", "flush-nexthops", "flush-nft"],
)
def test_agents_mend_what_is_broken_in_their_kernels(up: str, what: str) -> None:
    """An agent repairs each fault of its kernel: packets arrive again."""
    assert lab("break", what, "node-1") == f"{what} node-1: done\n"
    eventually(lambda: answers("node-1/a", "node-2/a"), "the pods reach each other")


def test_a_carrier_goes_and_comes(up: str) -> None:
    """Without a carrier no packet arrives; with it they arrive again."""
    broken("drop-carrier", "node-2")
    assert not answers("node-1/a", "node-2/a")
    broken("restore-carrier", "node-2")
    eventually(lambda: answers("node-1/a", "node-2/a"), "the pods reach each other")


def test_the_limit_and_the_tunnel(up: str) -> None:
    """With no entry left, pods reach each other by the tunnel, unless that is blocked."""
    broken("limit", "2")
    eventually(lambda: {one["path"] for one in status()["hosts"]} == {"overlay"}, "all hosts are on the overlay")
    assert json.loads(lab("ping", "node-1/a", "node-2/a", "--count", "1", "-o", "json"))["path"] == "overlay"
    broken("block-tunnel", "node-2")
    assert not answers("node-1/a", "node-2/a")
    broken("unblock-tunnel", "node-2")
    assert answers("node-1/a", "node-2/a")
    broken("limit", "50")
    eventually(lambda: {one["path"] for one in status()["hosts"]} == {"native"}, "all hosts are native")


def test_the_api_and_the_controllers_go_and_come(up: str) -> None:
    """Status shows the stopped API server or controllers; packets arrive meanwhile."""
    broken("stop-api")
    assert status()["api"] == "stopped"
    broken("start-api")
    assert status()["api"] == "running"
    broken("kill-controller")
    assert status()["controller"] == "stopped"
    assert answers("node-1/a", "node-2/a")
    broken("start-controller")
    eventually(lambda: bool(status()["controller"].endswith(" leads")), "one controller leads")


def test_a_host_is_replaced_with_its_pods(up: str) -> None:
    """A replaced host is another instance with the same name and new pods."""
    before = host("node-2")
    broken("replace", "node-2")
    eventually(lambda: bool(host("node-2")["ready"]), "the host is ready")
    after = host("node-2")
    assert after["instanceID"] != before["instanceID"]
    assert [pod["name"] for pod in after["pods"]] == ["a"]
    eventually(lambda: answers("node-1/a", "node-2/a"), "the pods reach each other")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up",), "is up already"),
        (("ping", "node-1", "nowhere"), "nowhere: there is no such host or pod in the lab; there are node-1, node-1/a"),
        (("exec", "nowhere", "--", "true"), "nowhere: there is no such host or pod in the lab"),
        (("break", "everything"), "everything: nothing is known to break by that name; expected one of limit, "),
        (("break", "kill-agent"), "kill-agent needs a host: node-1, node-2"),
        (("break", "kill-agent", "nowhere"), "nowhere: there is no such host; there are node-1, node-2"),
        (("break", "stop-api", "node-1"), "stop-api takes no host, but node-1 was given"),
        (("break", "limit", "many"), "limit many: expected a number of entries from 1 to 1000"),
    ],
)
def test_impossible_requests_are_refused_with_a_reason(up: str, words: tuple[str, ...], says: str) -> None:
    """An impossible request fails with one sentence and exit code 1."""
    assert says in lab(*words, code=1)


# --- its end ------------------------------------------------------------------------------------


def test_after_a_crash_down_removes_everything() -> None:
    """After SIGKILL of the daemon `lab up` reports leftover namespaces and processes, and `lab down` removes them."""
    need_all()
    name = f"{NAME}x"
    try:
        lab("up", "--nodes", "1", "--zones", "1", "--pods", "1", name=name)
        channel.kill(name)
        assert "no lab" in lab("status", name=name, code=1)
        assert f"cloudroute lab down --name {name}" in lab("up", name=name, code=1)
    finally:
        said = lab("down", name=name)
    assert f"namespace cr-{name}-node-1" in said
    assert leftovers(f"cr-{name}-") == []
    assert not channel.socket_path(name).exists()
    assert not (channel.RUN / name).exists()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert f"/{name}/" not in entry.read_text(errors="replace")
        except OSError:
            continue
    assert "nothing is left" in lab("down", name=name)


def test_an_interrupted_up_leaves_nothing() -> None:
    """Ctrl-C during the build removes all namespaces."""
    need_all()
    name = f"{NAME}y"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what runs with &
    with started("up", "--name", name) as process:
        signal.signal(signal.SIGINT, before)
        eventually(lambda: leftovers(f"cr-{name}-") != [], "the lab has namespaces")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert leftovers(f"cr-{name}-") == []
    assert not channel.socket_path(name).exists()
    assert "nothing is left" in lab("down", name=name)
    assert not channel.log_path(name).exists()


# --- real nodes ---------------------------------------------------------------------------------


def test_hosts_may_be_real_nodes() -> None:
    """`lab up --real` has kubelets: pods that containerd runs reach each other, also after a node is replaced."""
    need_all()
    if problems := missing():
        lacking("kubelet", *problems)
    name = f"{NAME}r"
    try:
        assert "2 hosts, 2 pods" in lab("up", "--real", "--nodes", "2", "--zones", "2", "--pods", "1", name=name)
        eventually(lambda: answers("node-1/a", "node-2/a", name), "the pods reach each other")
        nodes = json.loads(lab("status", "-o", "json", name=name))["hosts"]
        assert [len(node["pods"][0]["addresses"]) for node in nodes] == [2, 2]
        channel.ask(name, {"do": "break", "what": "replace", "word": "node-2"})
        eventually(lambda: answers("node-1/a", "node-2/a", name), "the new node's pod is reached")
    finally:
        lab("down", name=name)
    assert leftovers(f"cr-{name}-") == []


# --- the channel --------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[channel.Server]:
    require_netns()
    made = channel.Server(f"{NAME}z", lambda request: dict(request))
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_garbage_is_answered_with_an_error(server: channel.Server) -> None:
    """A malformed request gets an error, and the next request is served."""
    name = f"{NAME}z"
    for garbage in (b"nonsense\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b"\n", b"\0" * 100_000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(channel.socket_path(name)))
            sock.sendall(garbage)
            with sock.makefile("rb") as stream:
                assert "error" in json.loads(stream.readline())
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(channel.socket_path(name)))
        assert channel.ask(name, {"do": "this", "with": ["ä"]}) == {"do": "this", "with": ["ä"]}


def test_a_second_lab_of_one_name_is_refused(server: channel.Server) -> None:
    """A second lab of the same name fails, and the first stays reachable."""
    with pytest.raises(CloudrouteError, match="is up already"):
        channel.Server(f"{NAME}z", lambda request: None)
    assert channel.ask(f"{NAME}z", {"do": "this"}) == {"do": "this"}


def test_a_lab_that_hangs_is_reported_and_can_be_killed() -> None:
    """A daemon that hangs is reported, and its process is found by its socket and killed."""
    require_netns()
    name = f"{NAME}h"
    script = (
        "from cloudroute.lab.hosts import channel\n"
        f"server = channel.Server({name!r}, lambda request: None)\n"
        "print('listening', flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(CloudrouteError, match="no answer for"):
            channel.ask(name, {"do": "status"}, timeout=0.2)
        channel.kill(name)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    with pytest.raises(channel.NotUp, match="start one with cloudroute lab up"):
        channel.ask(name, {"do": "status"})
    channel.socket_path(name).unlink()


def test_every_fault_is_documented() -> None:
    """The help of `lab break` names exactly the faults that the daemon has."""
    known = {*breaks.OF_HOST, *breaks.OF_LAB, *breaks.OF_MACHINE, "limit"}
    assert {what.split()[0] for what, _ in WHATS} == known
    assert {what.split()[0] for what, _ in WHATS if what.endswith(" HOST")} == {*breaks.OF_HOST, *breaks.OF_MACHINE}


def test_only_root_on_linux_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root on Linux the commands fail with the remedy."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CloudrouteError, match="be root, or use sudo"):
        lab_hosts.demand_root()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CloudrouteError, match="needs Linux"):
        lab_hosts.demand_root()
