"""The program's edges: usage, malformed input, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloudroute.probe", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [[], ["help"], ["ask", "more"]])
def test_bad_usage_exits_with_2(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr.splitlines()[0][:6]) == (2, "usage:")


@pytest.mark.parametrize("line", ["", "{", "{}", "[1]", '[{"kind": "self"}]'])
def test_malformed_questions_exit_with_2_and_one_line(line: str) -> None:
    done = run("ask", stdin=line)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("stdin is no list of questions in JSON: ")


def test_no_question_no_answer() -> None:
    done = run("ask", stdin="[]\n")
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_heavy_is_imported() -> None:
    """Of cloudroute the probe alone, and of the library nothing that takes a pod's memory."""
    read = "import cloudroute.probe.ask, cloudroute.probe.serve, json, sys; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", read], capture_output=True, text=True).stdout))
    ours = {name for name in loaded if name.startswith("cloudroute.")}
    assert ours == {"cloudroute.probe", *(f"cloudroute.probe.{name}" for name in ("ask", "failure", "serve"))}
    assert not loaded & {"ssl", "http.client", "email", "logging", "dataclasses", "inspect", "subprocess", "asyncio"}
