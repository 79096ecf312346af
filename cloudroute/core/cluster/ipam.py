"""Pod CIDRs: adopted where a Node has one, else the next free one of its family's pools.

The search continues after the last CIDR given and wraps around, so that a freed CIDR stays unused for as long as the
pool allows. Both families share one code path. Nothing is enumerated: an IPv6 pool of 16 million CIDRs costs as much as
a small one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from cloudroute.types import BITS, Cidr, Family


class NodeSized:
    """The set of CIDRs that a node can have, for use with `in`: parts of a pool, of the node's prefix length."""

    def __init__(self, pools: Iterable[Cidr], node_mask: Mapping[Family, int]) -> None:
        self._pools: dict[Family, list[tuple[int, int, int]]] = {}
        for pool in pools:
            self._pools.setdefault(pool.family, []).append((node_mask[pool.family], pool.base, pool.end))

    def __contains__(self, cidr: Cidr) -> bool:
        return self.issuperset((cidr,))

    def issuperset(self, cidrs: Iterable[Cidr]) -> bool:
        """Whether a node can have each of `cidrs`."""
        for family, base, length in cidrs:
            for node_mask, start, end in self._pools.get(family, ()):
                if length == node_mask and start <= base < end:
                    break
            else:
                return False
        return True


class Ipam:
    """Hands out CIDRs during one plan.

    `used`: CIDRs that Nodes or NodeRoutes hold; those handed out are added to it. `excluded`: CIDRs that no node may
    get for other reasons. `cursors`: the CIDR of each family that was handed out last.
    """

    def __init__(
        self,
        pools: Iterable[Cidr],
        node_mask: Mapping[Family, int],
        used: set[Cidr],
        excluded: Sequence[Cidr],
        cursors: Mapping[Family, Cidr],
    ) -> None:
        self.cursors: dict[Family, Cidr] = dict(cursors)
        self._pools = tuple(pools)
        self._length = node_mask
        self._used = used
        self._excluded = excluded

    @cached_property
    def _stretches(self) -> dict[Family, list[tuple[Cidr, range]]]:
        """By family: each pool with each unblocked run of bases in it, in the order of the search."""
        # A Node can hold a CIDR of another length, which blocks a range; all others are looked up in `_used`.
        odd = (cidr for cidr in self._used if cidr.length != self._length.get(cidr.family))
        blocked = {*self._excluded, *odd}
        result: dict[Family, list[tuple[Cidr, range]]] = {}
        for pool in self._pools:
            step = 1 << (BITS[pool.family] - self._length[pool.family])
            stretches = result.setdefault(pool.family, [])
            stretches.extend((pool, stretch) for stretch in _unblocked(pool, blocked, step))
        return result

    @cached_property
    def _candidates(self) -> dict[Family, Iterator[Cidr]]:
        return {family: self._walk(family) for family in self._stretches}

    def allocate(self, families: Sequence[Family]) -> tuple[Cidr, ...]:
        """Take the next free CIDR of each of `families`; () when one of them has none left."""
        given = [cidr for family in families if (cidr := next(self._candidates[family], None))]
        if len(given) < len(families):
            return ()
        self._used.update(given)
        self.cursors.update((cidr.family, cidr) for cidr in given)
        return tuple(given)

    def free(self) -> dict[Cidr, int]:
        """Number of CIDRs that each pool can still give."""
        result = dict.fromkeys(self._pools, 0)
        used: defaultdict[Family, list[int]] = defaultdict(list)
        for family, base, _ in self._used:
            used[family].append(base)
        for family, stretches in self._stretches.items():
            bases = sorted(used[family])
            for pool, stretch in stretches:
                taken = bisect_left(bases, stretch.stop) - bisect_left(bases, stretch.start)
                result[pool] += (stretch.stop - stretch.start) // stretch.step - taken
        return result

    def _walk(self, family: Family) -> Iterator[Cidr]:
        """All free CIDRs, from the one after the last given, once around."""
        length = self._length[family]
        for stretch in self._order(family):
            for base in stretch:
                if (cidr := Cidr(family, base, length)) not in self._used:
                    yield cidr

    def _order(self, family: Family) -> list[range]:
        """The stretches in order: after the cursor in its pool, the other pools, and around to the cursor."""
        stretches, cursor = self._stretches[family], self.cursors.get(family)
        behind: list[range] = []
        before: list[range] = []
        after: list[range] = []
        pools = list(dict.fromkeys(pool for pool, _ in stretches))
        at = next((i for i, pool in enumerate(pools) if cursor and pool.covers(cursor)), None)
        if cursor is None or at is None:
            return [stretch for _, stretch in stretches]
        for pool, stretch in stretches:
            if pool != pools[at]:
                (after if pools.index(pool) > at else before).append(stretch)
                continue
            first = max(stretch.start, min(cursor.base + stretch.step, stretch.stop))
            behind.append(range(first, stretch.stop, stretch.step))
            before.append(range(stretch.start, first, stretch.step))
        return [*behind, *after, *before]


def _unblocked(pool: Cidr, excluded: Iterable[Cidr], step: int) -> Iterator[range]:
    """The bases in `pool`, `step` apart, of CIDRs that share no address with `excluded`.

    An exclusion that covers the whole pool is a supernet (a default route, a transit gateway's 10.0.0.0/8). It excludes
    nothing, since the longer prefix of a pod route wins over it.
    """
    start = pool.base
    for cidr in sorted(e for e in excluded if pool.covers(e) and e != pool):
        first = cidr.base // step * step
        if first > start:
            yield range(start, first, step)
        start = max(start, -(-cidr.end // step) * step)
    if start < pool.end:
        yield range(start, pool.end, step)
