"""Traffic while an enforcer is away, and to a pod that an enforcer does not know yet."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from cloudroute.lab.hosts.host import LabPod
from cloudroute.lab.hosts.traffic import Flow, Result, Traffic
from cloudroute.lab.hosts.traffic_echo import reach
from tests.packets.labs import check_no_loss
from tests.policies.enforcer import TABLE
from tests.policies.lab import SILENCE_SECONDS, PolicyLab
from tests.policies.objects import pod_object

FAIL_OPEN = "--fail-open=true"


def connected(client: LabPod, server: LabPod) -> bool:
    """Whether a new connection is answered."""
    return reach(client.namespace.name, server.addresses[0], "tcp", timeout=SILENCE_SECONDS).ok


def connection(client: LabPod, server: LabPod) -> Traffic:
    """A connection that is written to each 5 ms."""
    return Traffic([Flow(client.namespace.name, server.namespace.name, server.addresses[0], "tcp")], 5)


def only(traffic: Traffic) -> Result:
    """The result so far of its one flow."""
    (result,) = traffic.snapshot().values()
    return result


def wait_until_cut(lab: PolicyLab, traffic: Traffic) -> None:
    """Until nothing has arrived for half a second."""

    def cut() -> bool:
        before = only(traffic).received
        time.sleep(0.5)
        return only(traffic).received == before

    lab.wait(cut, "the connection to be cut", 60)


@pytest.fixture
def pods(lab: PolicyLab) -> tuple[LabPod, LabPod, LabPod]:
    """A client that the server's policy allows, one that it denies, and the server."""
    client, server = lab.pairs()["native"]
    return client.pods["friend"], client.pods["stranger"], server.pods["by-pod"]


@contextmanager
def enforcer_dead(lab: PolicyLab, *flags: str) -> Iterator[None]:
    """The server's enforcer is killed, and started again with these flags at the end."""
    lab.enforcers["a1"].end(signal.SIGKILL)
    yield
    lab.enforcers["a1"].start(*flags)


def test_only_connections_that_it_had_accepted_go_on_while_the_enforcer_is_dead(
    lab: PolicyLab, pods: tuple[LabPod, LabPod, LabPod]
) -> None:
    """They lose nothing; no other begins, and when it has come back those do that are allowed."""
    friend, stranger, server = pods
    with connection(friend, server) as accepted:
        lab.wait(lambda: only(accepted).received > 0, "the enforcer to accept it")
        with enforcer_dead(lab):
            assert not connected(friend, server)
            assert not connected(stranger, server)
        lab.wait(lambda: connected(friend, server), "the enforcer to decide")
        assert not connected(stranger, server)
        check_no_loss(accepted.stop())


def test_with_fail_open_everything_passes_while_the_enforcer_is_dead_and_what_it_denies_is_cut_afterwards(
    lab: PolicyLab, pods: tuple[LabPod, LabPod, LabPod]
) -> None:
    """Connections that it had accepted lose nothing here either."""
    friend, stranger, server = pods
    with enforcer_dead(lab, FAIL_OPEN):
        pass
    lab.wait(lambda: "bypass" in server.host.run("nft", "list", "table", "inet", TABLE), "the enforcer's rules")
    lab.wait(lambda: not connected(stranger, server), "the enforcer to decide")
    with connection(friend, server) as accepted:
        lab.wait(lambda: only(accepted).received > 0, "the enforcer to accept it")
        with ExitStack() as stack:
            with enforcer_dead(lab, FAIL_OPEN):
                denied = stack.enter_context(connection(stranger, server))
                lab.wait(lambda: only(denied).received > 0, "what is denied to pass")
            started = time.monotonic()
            wait_until_cut(lab, denied)
            say("fail open: a connection made meanwhile is cut", time.monotonic() - started)
        check_no_loss(accepted.stop())
    with enforcer_dead(lab):
        pass
    lab.wait(lambda: "bypass" not in server.host.run("nft", "list", "table", "inet", TABLE), "the enforcer's rules")


def test_an_enforcer_that_is_stopped_in_order_leaves_its_node_open(
    lab: PolicyLab, pods: tuple[LabPod, LabPod, LabPod]
) -> None:
    """As in an upgrade: it removes its rules when the signal comes."""
    _, stranger, server = pods
    lab.enforcers["a1"].end(signal.SIGTERM)
    assert connected(stranger, server)
    started = time.monotonic()
    lab.enforcers["a1"].start()
    lab.wait(lambda: not connected(stranger, server), "the policy to hold")
    say("started: the policy holds", time.monotonic() - started)


def test_a_pod_is_open_until_its_addresses_are_reported_and_connections_of_then_are_cut_later(lab: PolicyLab) -> None:
    """The enforcer learns addresses from the pod's status; it looks at older connections twice a minute at most."""
    host, stranger = lab.hosts["a2"], lab.pairs()["native"][0].pods["stranger"]
    lab.kube.create(pod_object(host.name, "by-pod"))
    server = host.add_pod("by-pod")
    with connection(stranger, server) as early:
        lab.wait(lambda: only(early).received > 0, "the first bytes")
        lab.report(server)
        reported = time.monotonic()
        lab.wait(lambda: set(server.addresses) <= lab.enforcers[host.name].enforces(), "the enforcer to know the pod")
        say("new pod: the policy holds", time.monotonic() - reported)
        assert not connected(stranger, server)
        wait_until_cut(lab, early)
        say("new pod: an earlier connection is cut", time.monotonic() - reported)


def say(what: str, seconds: float) -> None:
    """Print a time for docs/network-policies.md."""
    sys.stdout.write(f"\n{what} after {seconds:.1f} s\n")
