"""Mutations of the agent's turn."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_AGENT = "cloudroute/agent"

AGENT = (
    Mutation(
        "A change by another program while the kernel is read is not seen before the next resync.",
        f"{_AGENT}/sync.py",
        "tracker.found(self._kernel.tables[kind].read(tracker.wanted.keys()))",
        "tracker.found(self._kernel.tables[kind].read(tracker.wanted.keys()))\n"
        "                self._marked.discard(kind)",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "A pool becomes unreachable before the routes whose nexthops failed: their packets are dropped.",
        f"{_AGENT}/sync.py",
        "for key in (*without, *failed) if",
        "for key in failed if",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "The routes of peers are removed before the unreachable route of their pool: packets are dropped meanwhile.",
        f"{_AGENT}/sync.py",
        "key=lambda key: bool(tracker.actual[key].nexthop)",
        "key=lambda key: not tracker.actual[key].nexthop",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "The address of a VXLAN device that was made anew is missing until the next resync.",
        f"{_AGENT}/sync.py",
        'was_missing = kind == "links" or not',
        "was_missing = not",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "An address that comes while the NIC is read is not seen before the next resync.",
        f"{_AGENT}/loop.py",
        "self._host = self._kernel.host(self._settings.interface)\n",
        "self._host = self._kernel.host(self._settings.interface)\n            self._host_stale = False\n",
        ("tests/agent/test_loop.py",),
    ),
    Mutation(
        "An agent whose cr0 was deleted stops serving while the API server is away.",
        f"{_AGENT}/loop.py",
        "if not own.status or not self._first_since_boot():",
        "if not own.status or self.sync.programmed():",
        ("tests/agent/test_loop.py",),
    ),
    Mutation(
        "A node that has once served removes its CNI configuration when cr0 is deleted and can't be made.",
        f"{_AGENT}/loop.py",
        "        if obstacle is None:\n            self._served = True\n",
        "        self._served = obstacle is None\n        if obstacle is None:\n",
        ("tests/agent/test_loop.py",),
    ),
    Mutation(
        "After one long outage, each later failure waits for half a minute.",
        f"{_AGENT}/loop.py",
        'self._failures, self._retry_due = 0, float("inf")',
        'self._retry_due = float("inf")',
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "Each change in a large cluster postpones the retry of a failed entry.",
        f"{_AGENT}/loop.py",
        'if self._retry_due == float("inf"):',
        "if self._retry_due:",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "Each turn of an agent tries a failing write of its status again: no back-off in an outage.",
        f"{_AGENT}/report.py",
        "if report.same(due):",
        "if report is due:",
        ("tests/agent/test_status.py",),
    ),
    Mutation(
        "A status that changes while the last one is being written is lost.",
        f"{_AGENT}/report.py",
        "elif report.same(self._report):",
        "else:",
        ("tests/agent/test_status.py",),
    ),
    Mutation(
        "`since` does not move when a node becomes ready.",
        f"{_AGENT}/report.py",
        ' and old.get("ready") == self.ready and',
        " and",
        ("tests/agent/test_status.py",),
    ),
    Mutation(
        "A path that changes every few seconds is never reported.",
        f"{_AGENT}/report.py",
        "if delay == 0.0 or due is None:",
        "if report is not due:",
        ("tests/agent/test_status.py",),
    ),
    Mutation(
        "Packets in transit are led to a table that lacks a route.",
        f"{_AGENT}/sync.py",
        "if transit and not failed and self._transit_is_complete():",
        "if transit and not failed:",
        ("tests/agent/test_gateway.py",),
    ),
    Mutation(
        "Packets to a gateway's own pods are led to a table that does not know them.",
        f"{_AGENT}/sync.py",
        "if transit and not failed and self",
        "if transit and self",
        ("tests/agent/test_gateway.py",),
    ),
    Mutation(
        "The rule for own pods goes before that for all pods: meanwhile they can't be reached.",
        f"{_AGENT}/sync.py",
        "drop.sort(key=lambda rule: rule.table == MAIN)",
        "drop.sort(key=lambda rule: rule.table != MAIN)",
        ("tests/agent/test_gateway.py",),
    ),
    Mutation(
        "A gateway renews its Lease while an entry that it needs is missing.",
        f"{_AGENT}/loop.py",
        " and whole and not rules.puts()",
        "",
        ("tests/agent/test_gateway.py",),
    ),
    Mutation(
        "A gateway whose loop hangs in a turn renews its Lease until the next resync.",
        f"{_AGENT}/loop.py",
        "        self._heartbeat.expect(start + LATE_SECONDS)\n",
        "",
        ("tests/agent/test_gateway.py",),
    ),
    Mutation(
        "A gateway whose loop hangs renews its Lease for ever.",
        f"{_AGENT}/gateway.py",
        "return None if self._own is None or late else",
        "return None if self._own is None else",
        ("tests/agent/test_gateway.py",),
    ),
)
