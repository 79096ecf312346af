"""Our one table, `inet cloudroute`: writes, reads, counters and changes by others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from cloudroute.adapters.nft import listing
from cloudroute.adapters.nft.command import Command
from cloudroute.adapters.nft.events import Events
from cloudroute.adapters.nft.ruleset import Json, base, elements, text
from cloudroute.dataplane import TABLE, Kind, PeerBytes, Ruleset, TransitSource
from cloudroute.errors import KernelError
from cloudroute.ports import KindDriver

_TABLE: Json = {"table": {"family": "inet", "name": TABLE}}


class Nft:
    """nftables for the agent. Raises errors.KernelError where the nft command is missing or not permitted."""

    def __init__(self) -> None:
        self._command = Command()
        self._events: Events | None = None
        self._table = RulesetTable(self._command)
        self.table: KindDriver[str, Ruleset] = self._table

    def peer_bytes(self) -> Sequence[PeerBytes]:
        """The counters, which begin anew when the table is redefined; () while there is no table. Never raises."""
        try:
            raw = self._command.listing()
            return () if raw is None else listing.peer_bytes(raw)
        except (KernelError, ValueError):
            return ()

    def transit_packets(self) -> Mapping[TransitSource, int]:
        """The counters of packets in transit, which begin anew with the table; {} where there are none."""
        try:
            return listing.transit_packets(self._command.counters()) if self._table.has_transit else {}
        except (KernelError, ValueError):
            return {}

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        """Call `changed` with {"nftables"}, from a thread, when others have changed our table."""
        self._events = Events(self._command.own, changed)

    def dead(self) -> str:
        """The name of a thread that has ended unasked; "" while all run."""
        return self._events.thread.name if self._events and self._events.dead else ""

    def close(self) -> None:
        """Stop listening. The table stays."""
        if self._events:
            self._events.close()
            self._events = None


class RulesetTable:
    """ports.KindDriver with the single key `dataplane.TABLE`."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._known = listing.ALTERED
        """The table as last read or written, from which a change of elements starts."""

    @property
    def has_transit(self) -> bool:
        """Whether the table, as last read or written, has counters of packets in transit."""
        return bool(self._known.transit)

    def read(self, wanted: Collection[str]) -> dict[str, Ruleset]:  # noqa: ARG002 - it is ours by its name
        """{} or {TABLE: the Ruleset}; listing.ALTERED for a table that others have altered."""
        with self._lock:
            raw = self._command.listing()
            self._known = listing.ALTERED if raw is None else listing.ruleset(raw)
            return {} if raw is None else {TABLE: self._known}

    def write(self, put: Mapping[str, Ruleset], drop: Collection[str]) -> dict[str, str]:
        """Change elements where nothing else differs; otherwise redefine the table, which resets its counters."""
        with self._lock:
            try:
                if TABLE in put:
                    self._put(put[TABLE])
                elif TABLE in drop:
                    self._known = listing.ALTERED
                    self._command.transaction([{"add": _TABLE}, {"delete": _TABLE}])  # no error if it is gone
            except KernelError as error:
                return {TABLE: str(error)}
            return {}

    def _put(self, wanted: Ruleset) -> None:
        known, self._known = self._known, listing.ALTERED
        if not (base(known) == base(wanted) and self._change(known, wanted)):
            self._command.transaction([*_definition(wanted)])
        self._known = wanted

    def _change(self, known: Ruleset, wanted: Ruleset) -> bool:
        """Change elements only. Returns False if that is impossible: others have deleted some, or the whole table."""
        commands = [*_changes(elements(known), elements(wanted))]
        try:
            self._command.transaction(commands)
        except KernelError:
            return False
        # A write was requested though no difference is known: our cached copy is wrong, so redefine the table.
        return bool(commands)


def _definition(wanted: Ruleset) -> Iterator[Json]:
    """Delete and make the table in one transaction: no packet finds it missing. Added first, it can be deleted."""
    yield {"add": _TABLE}
    yield {"delete": _TABLE}
    yield from ({"add": {kind: body}} for kind, body in base(wanted))
    yield from _changes({}, elements(wanted))


def _changes(old: Mapping[str, set[bytes]], new: Mapping[str, set[bytes]]) -> Iterator[Json]:
    for name, wanted in new.items():
        found = old.get(name, set())
        for verb, addresses in (("delete", found - wanted), ("add", wanted - found)):
            if addresses:
                texts = [text(address) for address in addresses]
                yield {verb: {"element": {"family": "inet", "table": TABLE, "name": name, "elem": texts}}}
