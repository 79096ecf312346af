"""The command line as a person runs it: a process of its own, which is asked and ended in words."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cloudroute.lab.replica import clean_environment

CLI = [sys.executable, "-m", "cloudroute"]
PATIENCE = 20.0


def run(*words: str, env: Mapping[str, str] | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person does; the exit code must be `code`, and nobody sees a traceback."""
    done = subprocess.run([*CLI, *words], env=environment(env or {}), capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what would configure cloudroute or AWS."""
    return {**clean_environment(), "AWS_EC2_METADATA_DISABLED": "true", **extra}


@contextmanager
def started(*words: str, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command under way, which does not outlive the test."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*CLI, *words], env=environment(env), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def exports_of(process: subprocess.Popen[str]) -> dict[str, str]:
    """The variables that a lab server prints once it answers."""
    assert process.stdout
    exports: dict[str, str] = {}
    while not {"AWS_SECRET_ACCESS_KEY", "KUBECONFIG"} & exports.keys():
        line = process.stdout.readline()
        assert line, "it ended without a word"
        exports |= dict(part.split("=", 1) for part in line.removeprefix("export ").split())
    return exports


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Ask it to end: with 0, and without a word."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
