"""Scenarios in which cloudroute, or a check of the simulation, was once wrong: they must pass.

A seed gives another scenario as soon as the code draws a random number at another moment. So each bug of cloudroute
also has a test of its own beside the code that it was in.
"""

from __future__ import annotations

from tests.simulation.test_storm import python

SCENARIOS = {
    # The Lease was deleted while the standby could not read: two leaders wrote at once.
    1795710487588: "0,1,2,3",
    # Somebody changed the target of a route that we had just replaced, before a describe showed our write: it was taken
    # for ours and deleted.
    1795710486989: "0,1",
    1795710487385: "4,5",
    1795710489860: "0,1,2",
    # Wrong checks: a CIDR that was claimed while its owner's write was in flight; a standby that was started with
    # another --route-limit; EC2 that shows, or has just shown, an old state; a source/dest check that somebody switched
    # on, or a route that somebody removed, just after we had written it; a node that registers again after its CIDR was
    # claimed.
    1795705620789: "1,2,3,5",
    1795710486396: "0,1,2",
    1795710488062: "2,3",
    1795711445718: "0,1,2",
    1795718461965: "0,2,3",
    1795729996818: "0,1",
    1795738668607: "0,1,2,3,4,5",
    1795738669205: "0,1,2,3,4,5",
    1795738972983: "0,1",
}


WITH_GATEWAYS = {
    # A leader ended right after it had deleted a route, which EC2 showed to its successor for seconds: the successor,
    # with a higher limit, published the node by it.
    1795904045928: "1,2,3,4,5,6,7,8,9,10",
    # A wrong check: somebody took the smaller of two aggregates that cover a pod CIDR.
    1795889672200: "0,3",
    # A wrong check: the Node of a gateway that holds aggregates was deleted, and another one has the same instance.
    1795891278778: "1,2",
    # A wrong check: a request hung half a minute after the fault, and a failover waited for it.
    1795891950480: "1,5",
    # A wrong check: a gateway's instance had got another Node, while it drained.
    1795899107988: "0,1",
    1795899111907: "3,7,8",
    1795899112236: "0,2,3,5,6",
    # A wrong check: a gateway that is deselected keeps IPv4 aggregates, since the other gateway has no IPv4 address.
    1795899110142: "4,6,8",
    # A wrong check: a new leader, shown the table of before, repeats the last replacement of an aggregate.
    1795909967201: "0,1,2,3,4,5,6,8,9",
    # A wrong check: a Node comes back with its pod CIDR, which another Node has claimed and got meanwhile.
    1795899111147: "1,2,3,4,5,6",
}


def test_scenarios_that_failed_once_pass() -> None:
    python("-c", RUN.format(without=SCENARIOS, gateways=WITH_GATEWAYS))


RUN = """
from dataclasses import replace
from tests.simulation.fault_plan import plan_of, plan_without_gateways
from tests.simulation.runner import Runner

runner = Runner()
found = [(plan_without_gateways(seed), kept) for seed, kept in {without}.items()]
found += [(plan_of(seed), kept) for seed, kept in {gateways}.items()]
for plan, kept in found:
    plan = replace(plan, faults=tuple(plan.faults[int(number)] for number in kept.split(",")))
    result = runner.run(plan)
    assert not result.problem, (plan, result.problem)
"""
