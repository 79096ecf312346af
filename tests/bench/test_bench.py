"""The benchmark itself: that it measures, compares and says so by its exit code. Times are for `make bench`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bench import beside_netlink, burst, counts, gateways, memory, plans, reaction, throughput
from tests.bench.__main__ import main
from tests.bench.nodes import OWN, bare_host, manifest
from tests.hosts import require_netns, require_nftables
from tests.measure.rows import Row


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


def test_raw_netlink_leaves_and_lists_what_the_agent_does() -> None:
    """Or the two would not be comparable: native, direct and overlay peers, both families."""
    require_netns()
    require_nftables()
    with bare_host() as namespace, namespace.inside(), beside_netlink.Bench(70) as bench:
        bench.clear()
        bench.by_agent()
        by_agent = bench.tables()
        bench.clear()
        assert bench.sync.trackers["routes"].wanted == by_agent["routes"]
        assert not any(bench.tables().values())
        bench.by_raw_netlink()
        assert bench.tables() == by_agent
        listing = bench.listing()
        assert listing.fdb == by_agent["fdb"]
        assert listing.neighbours == by_agent["neighbours"]
        assert listing.nexthops.keys() == by_agent["nexthops"].keys()
        assert listing.routes == {key[:3]: to for key, to in by_agent["routes"].items()}  # of the main table


def test_a_change_of_path_writes_one_nexthop_of_each_family() -> None:
    """The measured change is one of two entries, there and back."""
    require_netns()
    require_nftables()
    with bare_host() as namespace, namespace.inside(), beside_netlink.Bench(70) as bench:
        bench.by_agent()
        before = bench.tables()
        bench.change("node-69")
        after = bench.tables()
        assert {kind for kind in before if before[kind] != after[kind]} == {"nexthops"}
        assert sum(after["nexthops"][key] != value for key, value in before["nexthops"].items()) == 2
        bench.change("node-69")
        assert bench.tables() == before


def test_without_namespaces_the_reason_is_printed_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without root the agent's rows are named as not measured, and that is no miss."""
    for part in (reaction, plans, gateways, memory, burst, counts):
        monkeypatch.setattr(part, "measure", lambda **_: iter([Row("quick", 0.05, 0.1, "s")]))
    monkeypatch.setattr("tests.bench.__main__.Replicas", _NoReplicas)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert (
        "not measured: the agent beside raw netlink, its memory and CPU, throughput by each path: this is not"
        in printed
    )


def test_throughput_is_told_as_how_many_times_longer_it_takes() -> None:
    """The row of a path is plain routing's speed by the path's."""
    rows = list(throughput.rows({"plain": 10.0, "native": 8.0, "direct": 10.0, "overlay": 5.0, "gateway": 4.0}))
    assert [row.measured for row in rows] == [1.25, 1.0, 2.0, 2.5]
    assert all(row.met for row in rows)
    assert "(10.0 and 8.0 Gbit/s)" in rows[0].what


def test_nodes_have_addresses_of_their_own() -> None:
    """5,000 of them, in both families."""
    found = [manifest(number)["spec"] for number in range(5001)]
    for field in ("podCIDRs", "nodeIPs"):
        assert len({text for spec in found for text in spec[field]}) == 2 * len(found)
    assert manifest(0)["metadata"]["name"] == OWN


class _NoReplicas:
    def __enter__(self) -> _NoReplicas:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def measure(self) -> Iterator[Row]:
        return iter(())
