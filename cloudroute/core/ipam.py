"""Pod CIDRs: adopted where a Node has one, else the next free one of its family's pools.

The search walks on from the last CIDR given and wraps around, so that a freed one rests as long as the pool allows.
Both families by one code path; nothing is enumerated, an IPv6 pool of 16 million CIDRs costs what a small one costs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cloudroute.types import BITS, Cidr, Family


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from `base` up to, not including, `end`, that no node may get."""

    base: int
    end: int


class Ipam:
    """Hands out CIDRs during one plan. `used` are those that nodes, or NodeRoutes that still drain, hold."""

    def __init__(
        self,
        pools: Iterable[Cidr],
        node_length: Mapping[Family, int],
        used: Collection[Cidr],
        excluded: Iterable[Cidr],
        cursors: Mapping[Family, Cidr],
    ) -> None:
        self._pools: dict[Family, list[Cidr]] = {}
        for pool in pools:
            self._pools.setdefault(pool.family, []).append(pool)
        self._length = node_length
        self._used = set(used)
        self._spans = {pool: _merge(pool, excluded) for pools_ in self._pools.values() for pool in pools_}
        self._exhausted: set[Family] = set()
        self.cursors: dict[Family, Cidr] = dict(cursors)

    def allocate(self, family: Family) -> Cidr | None:
        """The next free CIDR of `family`, now taken; None when no pool has one."""
        if family in self._exhausted:
            return None
        step = 1 << (BITS[family] - self._length[family])
        for pool, start, end in self._walk(family, step):
            if found := self._first_free(pool, start, end, step):
                self._used.add(found)
                self.cursors[family] = found
                return found
        self._exhausted.add(family)
        return None

    def free(self) -> dict[Cidr, int]:
        """How many CIDRs each pool can still give."""
        result = {}
        for pools in self._pools.values():
            for pool in pools:
                step = 1 << (BITS[pool.family] - self._length[pool.family])
                blocked = sum(-(-span.end // step) - span.base // step for span in self._spans[pool])
                result[pool] = pool.size // step - blocked
        for cidr in self._used:
            for pool in self._pools.get(cidr.family, ()):
                if pool.covers(cidr) and not any(
                    span.base < cidr.end and cidr.base < span.end for span in self._spans[pool]
                ):
                    result[pool] -= 1
        return result

    def _walk(self, family: Family, step: int) -> Iterable[tuple[Cidr, int, int]]:
        """The stretches to search, in order: behind the cursor, the other pools, and round to the cursor."""
        pools = self._pools.get(family, [])
        cursor = self.cursors.get(family)
        at = next((i for i, pool in enumerate(pools) if cursor and pool.covers(cursor)), None)
        if at is None or cursor is None:
            return [(pool, pool.base, pool.end) for pool in pools]
        others = [(pool, pool.base, pool.end) for pool in pools[at + 1 :] + pools[:at]]
        behind, before = cursor.base + step, cursor.base + step
        return [(pools[at], behind, pools[at].end), *others, (pools[at], pools[at].base, before)]

    def _first_free(self, pool: Cidr, start: int, end: int, step: int) -> Cidr | None:
        base, length = start, self._length[pool.family]
        while base + step <= end:
            blocked = next((s for s in self._spans[pool] if s.base < base + step and base < s.end), None)
            if blocked:
                base = -(-blocked.end // step) * step
                continue
            cidr = Cidr(pool.family, base, length)
            if cidr not in self._used:
                return cidr
            base += step
        return None


def _merge(pool: Cidr, excluded: Iterable[Cidr]) -> list[Span]:
    """The parts of `pool` that may not be given, disjoint and in order.

    An exclusion that covers the whole pool is a supernet (a default route, a transit gateway's 10.0.0.0/8): the
    longer prefix of a pod route wins over it, so it excludes nothing.
    """
    spans: list[Span] = []
    for cidr in sorted(e for e in excluded if pool.covers(e) and e != pool):
        if spans and cidr.base <= spans[-1].end:
            spans[-1] = Span(spans[-1].base, max(spans[-1].end, cidr.end))
        else:
            spans.append(Span(cidr.base, cidr.end))
    return spans
