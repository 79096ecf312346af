"""EC2's describes while it is not consistent."""

from __future__ import annotations

from tests.simulation.describes import NEVER, Describes
from tests.simulation.scheduler import Scheduler


def test_each_resource_goes_forward_in_time_by_itself() -> None:
    scheduler = Scheduler(1)
    describes = Describes(scheduler)
    describes.spread(20.0, most=5.0)
    shown: list[tuple[float, float]] = [(0.0, 0.0)]
    for _ in range(30):
        scheduler.run(0.5)
        shown.append((describes.as_of("rtb-1"), describes.as_of("rtb-2")))
        assert all(scheduler.now - 5.0 <= time <= scheduler.now for time in shown[-1])
        assert all(before <= time for before, time in zip(*shown[-2:], strict=True))
    assert len({first == second for first, second in shown}) == 2
    scheduler.run(10.0)
    assert describes.as_of("rtb-1") == scheduler.now


def test_an_instance_is_left_out_for_a_while() -> None:
    scheduler = Scheduler(1)
    describes = Describes(scheduler)
    describes.leave_out(5.0, ["i-1"])
    scheduler.run(4.0)
    assert (describes.as_of("i-1"), describes.as_of("i-2")) == (NEVER, scheduler.now)
    scheduler.run(2.0)
    assert describes.as_of("i-1") == scheduler.now
