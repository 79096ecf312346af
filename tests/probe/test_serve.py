"""The echo as a process: alone in a file, beside hostile neighbours, to its end."""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from cloudroute.probe import serve
from tests.hosts import Namespace
from tests.probe.net import FAR, Net, ask, served

PORT = 8471


def test_one_file_is_enough_and_an_old_python(hosts: Net, tmp_path: Path) -> None:
    ast.parse(Path(serve.__file__).read_text(), feature_version=(3, 9))
    alone = shutil.copy(serve.__file__, tmp_path)
    command = ["ip", "netns", "exec", hosts.far.name, sys.executable, "-I", alone, "--port", str(PORT), "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f'{{"answering": {PORT}}}\n'
        assert hosts.one("udp", address=FAR["ipv6"], port=PORT)["ok"]
        process.communicate()
    assert process.returncode == 0


def test_without_ipv6_it_answers_over_ipv4(hosts: Net) -> None:
    """As in a pod of a cluster with IPv4 alone, where a runtime switches IPv6 off."""
    with Namespace("crprobeo-") as only:
        only.shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6")
        with served(only):
            (answer,) = ask(only, [{"id": 1, "kind": "udp", "address": "127.0.0.1"}])
    assert json.loads(answer)["seen"] == "127.0.0.1"


def test_it_ends_well_on_sigterm(hosts: Net) -> None:
    """As the first process of a container, without which nothing ends it but SIGKILL."""
    with served(hosts.far, "--port", str(PORT)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_taken_port_is_told(hosts: Net) -> None:
    command = [sys.executable, "-m", "cloudroute.probe", "serve"]
    done = subprocess.run(["ip", "netns", "exec", hosts.far.name, *command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "can't answer on port 8470: Address already in use\n")


def test_silent_connections_hold_up_nobody(hosts: Net) -> None:
    """More than it keeps: the oldest go."""
    with hosts.asker.inside(), contextlib.ExitStack() as end:
        silent = [
            end.enter_context(socket.create_connection((FAR["ipv4"], 8470))) for _ in range(serve.MOST_CONNECTIONS + 10)
        ]
        assert hosts.one("tcp", address=FAR["ipv4"])["ok"]
        silent[0].settimeout(5)
        assert silent[0].recv(1) == b""


def test_malformed_questions_get_no_answer(hosts: Net) -> None:
    """An answer least of all: two servers would go on for ever. A length that no question has ends the connection."""
    with hosts.asker.inside():
        packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection = socket.create_connection((FAR["ipv4"], 8470), 5)
    with packets, connection:
        packets.settimeout(5)
        packets.connect((FAR["ipv4"], 8470))
        packets.send(b"12345678" + b'{"seen": "10.1.0.2"}'.ljust(300, b"\0"))
        packets.send(b"short")
        packets.send(b"question".ljust(300, b"\0"))
        assert packets.recv(1000).startswith(b"question{")
        connection.sendall(struct.pack("!I", 1 << 30))
        assert connection.recv(1) == b""


def test_a_connection_that_closes_without_a_word_is_nothing(hosts: Net) -> None:
    """A kubelet's probe."""
    for _ in range(3):
        with hosts.asker.inside():
            socket.create_connection((FAR["ipv6"], 8470), 5).close()
    assert hosts.one("tcp", address=FAR["ipv6"])["ok"]
