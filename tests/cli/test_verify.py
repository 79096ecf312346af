"""Bad usage of `cloudroute verify`: all of it at once, before anything is asked of a cluster."""

from __future__ import annotations

import pytest

from cloudroute.cli import main


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (
            ["--sample", "0", "--seconds", "0", "--vpc-host", "10.0.9.4:99999", "--nodes", "A B"],
            ["--nodes A B: expect", "--sample 0: expect", "--seconds 0: expect", "--vpc-host 10.0.9.4:99999: expect"],
        ),
        (
            ["--report", "/nowhere/report.json"],
            ["--report /nowhere/report.json: expected a file in a folder that exists"],
        ),
        (["--vpc-host", "fd00::4:x"], ["--vpc-host fd00::4:x: expected an address, with a port or without"]),
        (
            ["--here", "--keep", "--webhooks", "--vpc-host", "fd00::4"],
            ["--vpc-host: not with --here", "--webhooks: not with --here", "--keep: not with --here"],
        ),
    ],
)
def test_bad_usage_is_told_in_full(words: list[str], problems: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(problems)
    assert all(problem in line for problem, line in zip(problems, lines, strict=True)), lines
