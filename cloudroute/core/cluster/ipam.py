"""Pod CIDRs: adopted where a Node has one, else the next free one of its family's pools.

The search continues after the last CIDR given and wraps around, so that a freed CIDR stays unused for as long as the
pool allows. With gateways it takes turns between the parts of the pools that have an aggregate each: a gateway carries
the nodes of its parts that lie past the route limit. Both families share one code path. Nothing is enumerated: an IPv6
pool of 16 million CIDRs costs as much as a small one.
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

    `rounds`: ranges that are searched as one, each inside one of `pools`. Rounds of a family take turns, so that nodes
    spread over them. `used`: CIDRs that Nodes or NodeRoutes hold; those handed out are added to it. `excluded`: CIDRs
    that no node may get for other reasons. `given`: CIDRs handed out before, the latest last; of each round the last
    counts.
    """

    def __init__(
        self,
        pools: Sequence[Cidr],
        rounds: Iterable[Sequence[Cidr]],
        node_mask: Mapping[Family, int],
        used: set[Cidr],
        excluded: Sequence[Cidr],
        given: Iterable[Cidr],
    ) -> None:
        self._pools = pools
        self._length = node_mask
        self._used = used
        self._excluded = excluded
        # The order is that of the turns: the first has waited the longest.
        self._last: dict[tuple[Cidr, ...], Cidr | None] = dict.fromkeys(map(tuple, rounds))
        for cidr in given:
            if within := next((ranges for ranges in self._last if any(one.covers(cidr) for one in ranges)), None):
                self._take(within, cidr)

    @property
    def given(self) -> tuple[Cidr, ...]:
        """The CIDR handed out last in each round, the latest last."""
        return tuple(cidr for cidr in self._last.values() if cidr)

    @cached_property
    def _stretches(self) -> dict[Cidr, list[range]]:
        """By pool: each unblocked run of bases in it, in order."""
        # A Node can hold a CIDR of another length, which blocks a range; all others are looked up in `_used`.
        odd = (cidr for cidr in self._used if cidr.length != self._length.get(cidr.family))
        blocked = {*self._excluded, *odd}
        return {pool: list(_unblocked(pool, blocked, self._step(pool.family))) for pool in self._pools}

    @cached_property
    def _free(self) -> dict[tuple[Cidr, ...], Iterator[Cidr]]:
        return {ranges: self._walk(ranges, last) for ranges, last in self._last.items()}

    def allocate(self, families: Sequence[Family]) -> tuple[Cidr, ...]:
        """Take the next free CIDR of each of `families`; () when one of them has none left."""
        given = [found for family in families if (found := self._next(family))]
        if len(given) < len(families):
            return ()
        for ranges, cidr in given:
            self._used.add(cidr)
            self._take(ranges, cidr)
        return tuple(cidr for _, cidr in given)

    def free(self) -> dict[Cidr, int]:
        """Number of CIDRs that each pool can still give."""
        used: defaultdict[Family, list[int]] = defaultdict(list)
        for family, base, _ in self._used:
            used[family].append(base)
        for bases in used.values():
            bases.sort()
        result = {}
        for pool, stretches in self._stretches.items():
            bases = used[pool.family]
            taken = sum(bisect_left(bases, one.stop) - bisect_left(bases, one.start) for one in stretches)
            result[pool] = sum((one.stop - one.start) // one.step for one in stretches) - taken
        return result

    def _step(self, family: Family) -> int:
        """Number of addresses of a node's CIDR."""
        return 1 << (BITS[family] - self._length[family])

    def _take(self, ranges: tuple[Cidr, ...], cidr: Cidr) -> None:
        del self._last[ranges]
        self._last[ranges] = cidr

    def _next(self, family: Family) -> tuple[tuple[Cidr, ...], Cidr] | None:
        """The next free CIDR of a family, with its round: that of the longest wait which has one left."""
        for ranges in self._last:
            if ranges[0].family == family and (cidr := next(self._free[ranges], None)):
                return ranges, cidr
        return None

    def _walk(self, ranges: tuple[Cidr, ...], last: Cidr | None) -> Iterator[Cidr]:
        """All free CIDRs of a round, from the one after the last given, once around."""
        family = ranges[0].family
        for stretch in self._order(ranges, last):
            for base in stretch:
                if (cidr := Cidr(family, base, self._length[family])) not in self._used:
                    yield cidr

    def _order(self, ranges: tuple[Cidr, ...], last: Cidr | None) -> Iterator[range]:
        """The stretches in order: behind `last` in its range, the next ranges, and round to `last`."""
        at = next((index for index, one in enumerate(ranges) if last and one.covers(last)), 0)
        start = ranges[at]
        first = last.base + self._step(last.family) if last else start.base
        yield from self._between(start, first, start.end)
        for one in (*ranges[at + 1 :], *ranges[:at]):
            yield from self._between(one, one.base, one.end)
        yield from self._between(start, start.base, first)

    def _between(self, within: Cidr, first: int, end: int) -> Iterator[range]:
        """The stretches of the pool around `within`, cut to the bases from `first` to before `end`."""
        pool = next(pool for pool in self._pools if pool.covers(within))
        for stretch in self._stretches[pool]:
            yield range(max(stretch.start, first), min(stretch.stop, end), stretch.step)


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
