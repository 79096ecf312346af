"""Any order of any events: no packet is lost on the way, and the final state is right.

A long random walk on the whole stack, the same for the same number. `core` has properties of single plans; here are
the seams between plans, calls, watches and time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest
from botocore.exceptions import ClientError

from tests.controller.lab import POOL, POOL6, Lab, lab

LIMITS = (4, 6, 9, 50)


@pytest.mark.parametrize("number", range(4))
def test_churn(number: int) -> None:
    """Nodes, instances, foreign routes, limits, faults and restarts at random end in exactly what should be there."""
    dice = random.Random(number)
    pools = (POOL, POOL6) if number % 2 else (POOL,)
    limit = dice.choice(LIMITS)
    with lab(ipv6=True, cluster_cidr=pools, one_table=number == 0, route_limit=limit, traffic=True) as world:
        walk = Walk(world, dice)
        for _ in range(25):
            walk.step()
        world.aws.faults.clear()
        world.kube.faults.clear()
        world.pass_seconds(200)
        world.run()
        walk.check()
        world.calls()
        world.writes()
        world.start()
        world.run()
        assert world.changes() == {}
        assert world.writes() == {}


class Walk:
    """Events that can happen to a cluster."""

    def __init__(self, world: Lab, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.gateway = world.gateway()
        self.foreign: set[tuple[str, str]] = set()
        world.join_many(3)

    def step(self) -> None:
        """Something, and then some time."""
        changes: Mapping[Callable[[], object], int] = {
            self._join: 4, self._terminate: 2, self._delete: 1, self._recreate: 2, self._rename: 1, self._reboot: 1,
            self._route: 1, self._restart: 2, self._fail_ec2: 2, self._fail_kube: 1,
        }  # fmt: skip
        self.dice.choices(list(changes), list(changes.values()))[0]()
        self.world.pass_seconds(self.dice.choice((0, 0.5, 3, 12, 70)))

    def check(self) -> None:
        """The world is as the Nodes, the limit and the foreign routes want it."""
        world = self.world
        published = world.published()
        assert published.keys() == {node["metadata"]["name"] for node in world.kube.list("nodes")}
        assert {condition and condition[0] for condition in world.conditions().values()} <= {"False"}
        targets = {cidr: world.machine(name).interface_id for name in published for cidr in world.pod_cidrs(name)}
        assert len(targets) == sum(len(world.pod_cidrs(name)) for name in published)
        for table in world.tables():
            routes = world.routes(table)
            foreign = {cidr for of, cidr in self.foreign if of == table}
            assert foreign <= routes.keys()
            ours = {cidr: target for cidr, target in routes.items() if cidr not in foreign}
            assert ours == {cidr: targets[cidr] for cidr in ours}
            native = {cidr for name in world.native(table) for cidr in world.pod_cidrs(name)}
            assert native == ours.keys()
        assert max(world.aws.highest.values()) <= 50

    # --- changes ----------------------------------------------------------------------------

    def _some(self) -> str:
        names = [node["metadata"]["name"] for node in self.world.kube.list("nodes")]
        return self.dice.choice(names) if names else self.world.join(0)

    def _join(self) -> None:
        self.world.join(self.dice.randrange(3), priority=self.dice.choice(("", "", "5")))

    def _terminate(self) -> None:
        self.world.terminate(self._some())

    def _delete(self) -> None:
        """By mistake; half of the kubelets register again a little later."""
        name = self._some()
        machine = self.world.machine(name)
        self.world.kube.delete("nodes", name)
        self.world.pass_seconds(self.dice.choice((0, 3, 30)))
        if self.dice.random() < 0.5:
            self.world.join(machine=machine, name=name)

    def _recreate(self) -> None:
        name = self._some()
        if self.dice.random() < 0.5:
            self.world.aws.scene.terminate(self.world.instance(name))
        self.world.kube.delete("nodes", name)
        self.world.join(self.dice.randrange(3), name=name)

    def _rename(self) -> None:
        name = self._some()
        machine = self.world.machine(name)
        self.world.kube.delete("nodes", name)
        self.world.join(machine=machine)

    def _reboot(self) -> None:
        instance = self.world.instance(self._some())
        self.world.aws.scene.stop(instance)
        self.world.pass_seconds(self.dice.choice((1, 70)))
        self.world.aws.scene.start(instance)

    def _route(self) -> None:
        table, cidr = self.dice.choice(self.world.tables()), f"100.64.{self.dice.randrange(20)}.0/24"
        try:
            self.world.foreign(table, cidr, GatewayId=self.gateway)
        except ClientError:
            return  # the table is full, or a node has it
        self.foreign.add((table, cidr))

    def _restart(self) -> None:
        self.world.start(route_limit=self.dice.choice(LIMITS))

    def _fail_ec2(self) -> None:
        action = self.dice.choice(("*", "CreateRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute"))
        faults, times = self.world.aws.faults, self.dice.choice((1, 4))
        self.dice.choice(
            (
                lambda: faults.throttle(action, times=times),
                lambda: faults.drop(action, times=times),
                lambda: faults.fail(action, "InternalError", times=times),
                lambda: faults.fail(action, "UnauthorizedOperation", times=times),
                lambda: faults.stale(20, times=times),
            )
        )()

    def _fail_kube(self) -> None:
        code, verb = self.dice.choice((409, 429, 500)), self.dice.choice(("patch", "create", "delete"))
        self.world.kube.faults.fail(code, verb, count=self.dice.choice((1, 4)))
