"""The benchmark itself: that it measures, compares and says so by its exit code. Times are for `make bench`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bench import counts
from tests.bench.__main__ import main
from tests.bench.rows import Row


def test_the_counting_rows_meet_their_targets(capsys: pytest.CaptureFixture[str]) -> None:
    """Calls of a first sync, at rest and past the limit are as few as promised, and JSON says so."""
    code = main(["--quick", "-o", "json"])
    told = json.loads(capsys.readouterr().out)
    figures = {row["what"]: row["measured"] for row in told["rows"]}
    assert figures == {
        "EC2 calls of a first sync, N=30, T=1": 63,
        "EC2 calls of a first sync, N=30, T=3": 123,
        "EC2 calls a minute, idle": 2,
        "EC2 calls a minute past the limit, 60 nodes on 50 entries": 2,
        "Kubernetes writes a minute past the limit, 60 nodes on 50 entries": 0,
    }
    assert all(row["met"] for row in told["rows"])
    assert told["machine"]["cores"] >= 1
    assert code == 0


def test_a_missed_target_is_marked_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row past its target ends the run with 1, and the table shows which, by how much and against whom."""

    def slow() -> Iterator[Row]:
        yield Row("slow", 0.25, 0.1, "s", {"gardener": 3.3})
        yield Row("quick", 0.05, 0.1, "s")

    monkeypatch.setattr(counts, "measure", slow)
    assert main(["--quick"]) == 1
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("slow"))
    assert line.split() == ["slow", "0.25", "s", "0.1", "s", "2.50", "MISSED", "gardener", "3.3", "s", "(13.2x)"]
    assert "1 of 2 targets missed" in printed
