"""The judges of a soak find what is wrong where something was made wrong, and nothing where it was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from cloudroute.lab.hosts.traffic import Flow, Result
from tests.soak import flapping, kernels, leaks, losses, schedule
from tests.soak.exchange import Exchange, Stream
from tests.soak.leaks import Sample, Trend, What
from tests.soak.losses import Incident, Loss
from tests.soak.schedule import Fault

Growth = Callable[[float], float]


def life(process: str, seconds: float, rss: Growth, *, fds: Growth = lambda _: 12, seed: int = 1) -> list[Sample]:
    """Samples every two seconds, with the noise that an allocator makes."""
    dice = Random(seed)
    return [
        Sample(
            "agent",
            process,
            age,
            calm=True,
            rss_mb=rss(age) + dice.gauss(0, 0.3),
            descriptors=round(fds(age) + dice.choice((0, 0, 1))),
            threads=9,
        )
        for age in range(0, round(seconds), 2)
    ]


def trend(samples: list[Sample], what: What = "rss_mb") -> Trend:
    return next(one for one in leaks.trends(samples) if one.what == what)


def test_a_made_up_leak_is_found() -> None:
    found = trend(life("a/1", 600, lambda age: 40 + age * 0.01))
    assert found.leaks
    assert found.rate == pytest.approx(36, rel=0.1)


def test_a_leak_is_found_in_short_lives_that_begin_anew() -> None:
    lives = [sample for n in range(6) for sample in life(f"a/{n}", 160, lambda age: 40 + age * 0.02, seed=n)]
    assert trend(lives).leaks


def test_a_leak_of_descriptors_is_found() -> None:
    assert trend(life("a/1", 600, lambda _: 40, fds=lambda age: 12 + age / 60), "descriptors").leaks


@pytest.mark.parametrize(("rate", "beyond"), [(1 / 60, False), (1 / 15, True)])
def test_a_leader_may_fill_its_pools_and_not_grow_beyond(rate: float, *, beyond: bool) -> None:
    """It starts threads, each with two connections, as more steps run at once than ever before; up to a number."""
    samples = life("c/1", 600, lambda _: 75, fds=lambda age: 10 + age * rate)
    assert trend([replace(sample, role="leader") for sample in samples], "descriptors").leaks == beyond


@pytest.mark.parametrize("seed", range(20))
def test_a_flat_noisy_one_is_accepted(seed: int) -> None:
    samples = life("a/1", 300, lambda _: 40, seed=seed) + life("a/2", 300, lambda _: 55, seed=seed + 100)
    assert not any(one.leaks for one in leaks.trends(samples))
    assert all(one.judged for one in leaks.trends(samples))


def test_one_that_grows_at_first_and_then_no_more_is_accepted() -> None:
    assert not trend(life("a/1", 600, lambda age: 30 + min(age, 150) * 0.05)).leaks


def test_samples_of_a_storm_do_not_count() -> None:
    stormy = [replace(sample, calm=False) for sample in life("a/1", 600, lambda age: 40 + age)]
    assert not trend(stormy).judged


def test_a_run_that_was_too_short_is_not_judged() -> None:
    assert not trend(life("a/1", 100, lambda age: 40 + age)).judged


def loss(since: float, until: float, packets: int = 3, source: str = "node-1", target: str = "node-2") -> Loss:
    return Loss(source, target, "ipv4", "native", since, until, packets)


SABOTAGE = Incident(4, "node-2: a route removed", 100.0, "node-2", 100.1, 101.0)
LEADER = Incident(5, "leader killed", 120.0, "", 122.0, 130.0)


def test_a_loss_by_sabotage_is_laid_at_its_door() -> None:
    judged = losses.attribute([loss(99.8, 100.3)], [LEADER, SABOTAGE])
    assert list(judged.excused) == [1]
    assert judged.sabotaged_packets == 3
    assert not judged.wrong


@pytest.mark.parametrize(
    "strange",
    [
        loss(99.8, 100.3, target="node-3"),  # neither end was sabotaged
        loss(98.0, 99.0),  # before
        loss(104.0, 104.5),  # long after
    ],
)
def test_a_loss_elsewhere_or_at_another_time_is_not_excused(strange: Loss) -> None:
    judged = losses.attribute([strange], [LEADER, SABOTAGE])
    assert judged.wrong_packets == 3
    assert not judged.excused


def test_a_loss_is_told_with_the_fault_around_it_and_when() -> None:
    judged = losses.attribute([loss(121.0, 121.5), loss(128.0, 128.5)], [SABOTAGE, LEADER])
    (words,) = losses.sentences(judged, start=20.0)
    assert words == (
        "6 packets lost between 101.0 and 108.5 s, around leader killed (episode 5): node-1 to node-2 (ipv4, native)"
    )


def test_a_loss_in_calm_is_told_as_that() -> None:
    judged = losses.attribute([loss(200.0, 201.0)], [SABOTAGE, LEADER])
    (words,) = losses.sentences(judged, start=0.0)
    assert "around no fault: all was calm" in words


def test_packets_that_come_late_are_not_lost() -> None:
    exchange = Exchange()
    flow = Flow("a", "b", "100.64.1.2")
    stream = Stream(None, {flow: ("node-1", "node-2")}, {flow: frozenset()}, looked=10.0)  # type: ignore[arg-type] # no traffic runs
    for lost in (0, 5, 7, 1):
        exchange.count(stream, {flow: Result(sent=100, lost=lost)}, {}, 0.5)
    assert sum(one.packets for one in exchange.losses) == 1
    assert exchange.sent == Counter({("ipv4", "overlay"): 100})


def test_flows_of_a_host_that_dies_are_counted_apart() -> None:
    exchange = Exchange()
    flows = {Flow("a", "b", "100.64.1.2"): ("node-1", "node-2"), Flow("a", "c", "100.64.2.2"): ("node-1", "node-3")}
    stream = Stream(None, flows, dict.fromkeys(flows, frozenset()), looked=10.0)  # type: ignore[arg-type] # no traffic runs
    exchange.doom("node-3")
    exchange.count(stream, dict.fromkeys(flows, Result(sent=100, lost=40)), {}, 0.5)
    assert [(one.ends, one.packets) for one in exchange.losses] == [(("node-1", "node-2"), 40)]
    assert exchange.at_death == Counter(sent=100, lost=40)


BEFORE = {"rtb-1": {"10.1.0.0/24": "eni-1", "10.2.0.0/24": "eni-2"}}


def fault(kind: str) -> Fault:
    return Fault(kind, "node-1", 0, 1.0, 5, "")


def test_a_fault_that_changes_nothing_explains_no_write() -> None:
    assert flapping.ec2_most([fault("leader killed")], BEFORE, BEFORE) == 0
    assert flapping.node_routes_most([fault("leader killed")], 0) == 0
    assert not flapping.Bill(1, 0, 0, 0).fair
    assert not flapping.Bill(0, 0, 1, 0).fair


def test_entries_that_came_went_or_changed_explain_a_write_each() -> None:
    after = {"rtb-1": {"10.1.0.0/24": "eni-9", "10.3.0.0/24": "eni-3"}}
    assert flapping.differences(BEFORE, after) == 3


def test_an_object_more_in_a_kernel_is_told() -> None:
    assert kernels.compared({"a": {"links": 4}, "b": {}}, {"a": {"links": 5}, "c": {}}) == [
        "the namespace c is new",
        "the namespace b is gone",
        "a: 4 links have become 5",
    ]


def test_a_seed_tells_the_whole_schedule_and_every_kind_comes() -> None:
    first, again, other = ([*islice(schedule.episodes(seed), 60)] for seed in (7, 7, 8))
    assert first == again != other
    assert {one.faults[0].kind for one in first[: len(schedule.DECK)]} == set(schedule.KINDS)


def test_two_faults_of_an_episode_are_on_two_hosts_and_may_be_combined() -> None:
    for episode in islice(schedule.episodes(1), 500):
        for one, other in zip(episode.faults, episode.faults[1:], strict=False):
            assert one.host != other.host
            assert other.kind in schedule.ON_TOP[one.kind]
