"""Two clusters in one VPC, each with its own controller, API server and access key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.controller.lab import Lab, lab
from tests.two_clusters.ledger import Ledger

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Pair:
    """Cluster `one` and cluster `two`, and what each has written to EC2."""

    def __init__(self, one: Lab, two: Lab) -> None:
        self.one, self.two = one, two
        self.ledger = Ledger(one.aws)
        self.keys: dict[Lab, str] = {}
        for cluster in (one, two):
            cluster.session = one.aws.session(ANYTHING)
            credentials = cluster.session.get_credentials()
            assert credentials is not None
            self.keys[cluster] = credentials.access_key
            cluster.start()

    def run(self, rounds: int = 400) -> None:
        """Both turn until both are settled; the clock moves to whatever either waits for."""
        for _ in range(rounds):
            turns = [self.one.turn(), self.two.turn()]
            if all(turn.settled for turn in turns):
                return
            clock = self.one.clock
            clock.time = max(clock.time, min(turn.next_at for turn in turns if not turn.settled))
        raise AssertionError(f"not settled after {rounds} cycles: {turns}")

    def pass_seconds(self, seconds: float) -> None:
        """Both turn whenever either asks for it, for so long."""
        clock = self.one.clock
        end = clock.time + seconds
        while clock.time < end:
            turns = [self.one.turn(), self.two.turn()]
            clock.time = min(end, max(clock.time + 0.001, min(turn.next_at for turn in turns)))

    def resync(self) -> None:
        """Time for each to read EC2 once more, and then until both are settled."""
        self.pass_seconds(self.one.settings.resync_seconds + 1)
        self.run()


def routes_of(cluster: Lab) -> dict[tuple[str, str], str]:
    """(table, destination) -> target of all routes to pod CIDRs of its Nodes, in the tables that it uses."""
    cidrs = {cidr for item in cluster.kube.list("nodes") for cidr in item["spec"].get("podCIDRs", ())}
    return {
        (table, cidr): target
        for table in (item["metadata"]["name"] for item in cluster.kube.list("routetables"))
        for cidr, target in cluster.routes(table).items()
        if cidr in cidrs
    }


@contextmanager
def pair(one: dict[str, Any], two: dict[str, Any], **vpc: Any) -> Iterator[Pair]:
    """Two clusters with these settings each, in a VPC that is made with `vpc`."""
    with lab(**vpc, **one) as first, lab(beside=first, **two) as second:
        yield Pair(first, second)
