"""Doctor's judgement of a systemd-networkd: it knows the drop-in that keeps our routes."""

from __future__ import annotations

import pytest

from cloudroute.core.explain.doctor.facts import Networkd
from cloudroute.core.explain.doctor.node import judge_networkd

ROUTES, NEXTHOPS = "ManageForeignRoutes", "ManageForeignNextHops"


@pytest.mark.parametrize(
    ("version", "off", "state", "words"),
    [
        (252, {ROUTES}, "ok", "can't be kept from nexthops"),
        (252, set(), "warning", "ManageForeignRoutes=no into /etc/systemd/networkd.conf.d/80-cloudroute.conf"),
        (245, set(), "ok", "can't be kept from routes, nexthops"),
        (257, {ROUTES, NEXTHOPS}, "ok", "leaves routes and nexthops of others alone"),
        (257, {ROUTES}, "warning", "ManageForeignNextHops=no into"),
        (257, set(), "warning", "ManageForeignRoutes=no and ManageForeignNextHops=no into"),
    ],
)
def test_routes_that_its_settings_leave_to_it(version: int, off: set[str], state: str, words: str) -> None:
    """A setting that its version does not know is not asked for."""
    outcome = judge_networkd(Networkd(version, frozenset(off)))
    assert outcome.state == state
    assert words in f"{outcome.found} {outcome.todo}"


def test_none_at_work() -> None:
    """Nothing is wrong."""
    assert judge_networkd(None).state == "ok"
