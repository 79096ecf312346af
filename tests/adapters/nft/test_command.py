"""Failures of the nft command are reported in words, and end no process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloudroute.adapters.nft import command
from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.listing import ALTERED
from cloudroute.dataplane import TABLE
from cloudroute.errors import KernelError
from tests.adapters.nft.kit import RULESET
from tests.hosts import Namespace


@pytest.fixture
def nft_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a program that is found in place of nft."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "nft"


def stand_in(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_no_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without nft the error names the package."""
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    with pytest.raises(KernelError, match="there is no nft command: install it"):
        Nft()


def test_no_permission(host: Namespace) -> None:
    """Without NET_ADMIN the start fails, in words."""
    script = "from cloudroute.adapters.nft.client import Nft; Nft()"
    dropped = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", script)
    answer = subprocess.run(dropped, check=False, capture_output=True, text=True)
    assert answer.stderr.splitlines()[-1].endswith(
        "nft: Operation not permitted: run as root, or with the capability NET_ADMIN in the host's network namespace"
    )


def test_a_failing_nft_is_quoted(nft_is: Path) -> None:
    """The failure is its message without positions and quoted input: returned by a write, raised by a read."""
    stand_in(nft_is, "exit 0")
    nft = Nft()
    stand_in(
        nft_is, 'echo "internal:0:0-0: Error: Could not process rule: Device or resource busy" >&2; echo >&2; exit 1'
    )
    assert nft.table.write({TABLE: RULESET}, ()) == {TABLE: "nft: Device or resource busy"}
    assert nft.table.write({}, (TABLE,)) == {TABLE: "nft: Device or resource busy"}
    with pytest.raises(KernelError, match=r"^nft: Device or resource busy$"):
        nft.table.read(())
    assert nft.peer_bytes() == ()


def test_an_nft_that_says_nothing(nft_is: Path) -> None:
    """The failure names the exit code or the signal."""
    stand_in(nft_is, "exit 0")
    nft = Nft()
    stand_in(nft_is, "kill -SEGV $$")
    assert nft.table.write({TABLE: RULESET}, ()) == {TABLE: "nft ended with exit code -11 and said nothing"}


@pytest.mark.parametrize(
    "script",
    [
        *(f"echo '{output}'" for output in ("", "{", "[]", "{}", '{"nftables": [{"set": {}}]}', '{"nftables": [1]}')),
        "printf '{\\377'",
        "kill -SEGV $$",
    ],
)
def test_an_nft_that_cannot_list_the_table(nft_is: Path, script: str) -> None:
    """Garbage, or a crash, means a table that others have altered: it exists, must be written, and has no counters."""
    stand_in(nft_is, "exit 0")
    nft = Nft()
    stand_in(nft_is, script)
    assert nft.table.read(()) == {TABLE: ALTERED}
    assert nft.peer_bytes() == ()


def test_an_nft_that_hangs(nft_is: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed after the timeout, and the failure says so."""
    stand_in(nft_is, "exit 0")
    nft = Nft()
    stand_in(nft_is, "exec sleep 60")
    monkeypatch.setattr(command, "TIMEOUT_SECONDS", 0.1)
    assert "did not end within" in nft.table.write({TABLE: RULESET}, ())[TABLE]
    with pytest.raises(KernelError, match=f"nft list table inet {TABLE} did not end within"):
        nft.table.read(())


def test_an_nft_that_vanishes(nft_is: Path) -> None:
    """An upgrade may replace the image by one without nft."""
    stand_in(nft_is, "exit 0")
    nft = Nft()
    nft_is.unlink()
    assert nft.table.write({TABLE: RULESET}, ()) == {TABLE: f"{nft_is} can't be run: No such file or directory"}


def test_killed_in_the_middle(nft: Nft, host: Namespace) -> None:
    """A process that ends while it hands over a transaction leaves the table as it was."""
    nft.table.write({TABLE: RULESET}, ())
    with subprocess.Popen(["nft", "-j", "-f", "-"], stdin=subprocess.PIPE) as child:
        assert child.stdin
        child.stdin.write(b'{"nftables":[{"delete":{"table":{"family":"inet","name":"%s"}}},{"add"' % TABLE.encode())
    assert nft.table.read(()) == {TABLE: RULESET}
