"""The schedule of faults, with targets and durations: a function of the seed, and of nothing that happens.

Faults are dealt as cards are: each deck holds every kind, so that no run is without one for long. An episode is one of
them, and sometimes a second one on top that may be combined with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

ZONES = (2, 2, 1)
"""Number of hosts in each zone: pairs on one subnet, and pairs on two."""
HOSTS = tuple(f"node-{number}" for number in range(1, sum(ZONES) + 1))
LIMIT = 10
"""Entries of a route table that the controllers may use; two are not ours, and five hosts fit."""
LOW = (3, 4, 5, 6)
MOST_FOREIGN = 8
"""With these and none of ours, a table is full."""

CHANGES = ("limit", "foreign routes", "instance replaced")
"""Faults that make a controller write."""
EC2 = ("EC2 throttles", "EC2 is unavailable", "EC2's answers are lost", "EC2 is silent", "EC2 shows the past")
_WHILE_NOBODY_LEADS = ("instance replaced", "foreign routes", "sabotage", "agent killed", "node registered anew")
ON_TOP = {
    **dict.fromkeys(EC2, CHANGES),
    "agent killed": ("API server away", "leader killed", "status garbage", "sabotage"),
    "agent terminated": ("leader killed", "sabotage", *CHANGES),
    "leader killed": _WHILE_NOBODY_LEADS,
    "leader paused": _WHILE_NOBODY_LEADS,
    "API server away": ("sabotage", "agent killed"),
    "sabotage": CHANGES,
}
"""Faults that may be combined. A killed agent that is away while a peer leaves the native path loses packets once the
route has been drained, as docs/dataplane.md says: that is left out, or no loss would count as a defect. So is garbage
in the status of an agent that was told to end: its last report would be lost."""
DECK = (
    "limit", "limit", "instance replaced", "foreign routes", "foreign routes", "agent killed", "agent terminated",
    "leader killed", "leader paused", "API server away", *EC2, "node registered anew", "status garbage",
    "sabotage", "sabotage", "sabotage",
)  # fmt: skip
KINDS = tuple(dict.fromkeys(DECK))
SABOTAGE = (
    "a route removed", "a nexthop removed", "an FDB entry removed", "a neighbour removed", "all neighbours flushed",
    "all nexthops flushed", "all routes removed", "the nftables table deleted", "the VXLAN device deleted",
    "the VXLAN device down", "an FDB entry altered", "a nexthop altered", "a route altered", "forwarding switched off",
    "the NIC's carrier lost",
)  # fmt: skip
"""Damage of tests/packets that an agent repairs."""
_SECONDS = {"API server away": (1.0, 6.0), "node registered anew": (0.2, 1.5), "EC2's answers are lost": (8.0, 12.0)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `entries` is the new limit, or how many foreign routes the table of zone `zone` is to hold."""

    kind: str
    host: str
    zone: int
    seconds: float
    """Duration; 0 for a fault of one moment."""
    entries: int
    damage: str
    """Of a sabotage."""

    def __str__(self) -> str:
        if self.kind == "limit":
            return f"the limit becomes {self.entries}"
        if self.kind == "foreign routes":
            return f"table {self.zone + 1} gets {self.entries} foreign routes"
        if self.kind == "sabotage":
            return f"{self.host}: {self.damage}"
        if self.kind in ("instance replaced", "status garbage"):
            return f"{self.host}: {self.kind}"
        if self.kind in ("agent killed", "agent terminated", "node registered anew"):
            return f"{self.host}: {self.kind}, for {self.seconds:.1f} s"
        return f"{self.kind}, for {self.seconds:.1f} s" if self.kind != "leader paused" else self.kind


@dataclass(frozen=True, slots=True)
class Episode:
    """Faults that come together, and the rest after them."""

    number: int
    faults: tuple[Fault, ...]
    lag: float
    """Seconds from the first to the second."""
    rest: float
    """Seconds of calm once all is well again."""

    def __str__(self) -> str:
        return " + ".join(map(str, self.faults))


def episodes(seed: int) -> Iterator[Episode]:
    """Without end."""
    dice = Random(seed)
    numbers = count(1)
    low = True
    while True:
        deck = list(DECK)
        dice.shuffle(deck)
        for kind in deck:
            kinds = [kind]
            if kind in EC2 or (kind in ON_TOP and dice.random() < 0.35):
                kinds.append(dice.choice(ON_TOP[kind]))
            hosts = dice.sample(HOSTS, len(kinds))
            faults = []
            for one, host in zip(kinds, hosts, strict=True):
                faults.append(_fault(dice, one, host, low=low))
                low ^= one == "limit"  # it falls and rises by turns
            yield Episode(next(numbers), tuple(faults), dice.uniform(0.2, 1.5), dice.uniform(2.0, 5.0))


def _fault(dice: Random, kind: str, host: str, *, low: bool) -> Fault:
    seconds = dice.uniform(*_SECONDS.get(kind, (0.5, 4.0)))
    entries = _entries(dice, kind, low=low)
    return Fault(kind, host, dice.randrange(len(ZONES)), seconds, entries, dice.choice(SABOTAGE))


def _entries(dice: Random, kind: str, *, low: bool) -> int:
    if kind == "limit":
        return dice.choice(LOW) if low else LIMIT
    choices: Sequence[int] = (0, 0, *range(1, MOST_FOREIGN + 1))
    return dice.choice(choices)
