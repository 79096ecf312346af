"""No packet may be lost: what agents are told, held against what EC2 would do with their packets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.controller.lab import Lab


@dataclass
class Traffic:
    """Watches, after each cycle, for packets that would be lost.

    What is published as native must have a route that has settled, and the check off; a route is deleted only when
    nobody was told to use it for the time of draining. Instances that do not run receive nothing anyway.
    """

    lab: Lab
    used: dict[tuple[str, str], float] = field(default_factory=dict)
    """(table, destination) -> when it was last published."""
    there: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    """(table, destination) -> target, and since when."""
    deleted: list[tuple[float, str, str]] = field(default_factory=list)
    """When, table, destination: in their order."""

    def look(self) -> None:
        """Compare with the world as it was a cycle ago."""
        now, lab = self.lab.clock.time, self.lab
        running = self._running_interfaces()
        routes = {(t, cidr): target for t in lab.tables() for cidr, target in lab.routes(t).items()}
        for key, (target, _) in list(self.there.items()):
            if key not in routes:
                del self.there[key]
                self.deleted.append((now, *key))
                idle = now - self.used.get(key, 0.0)
                assert target not in running or idle >= lab.settings.drain_seconds, f"{key} was in use {idle} s ago"
        for key, target in routes.items():
            if key not in self.there or self.there[key][0] != target:
                self.there[key] = (target, now)
        for route in lab.published().values():
            eni = route.spec.network_interface_id
            assert not route.spec.subnet_id or not running.get(eni), f"{eni} has its source/dest check on"
            for key in [(t, str(cidr)) for t in route.spec.native_in for cidr in route.spec.pod_cidrs]:
                if eni in running:
                    target, since = self.there[key]
                    assert target == eni, f"{key} leads to {target}"
                    assert not running[eni], f"{eni} has its source/dest check on"
                    assert key in self.used or now - since >= lab.settings.settle_seconds, f"{key} has not settled"
                self.used[key] = now

    def _running_interfaces(self) -> dict[str, bool]:
        """ENIs of instances that run, with their source/dest checks. Not described: that takes longer than a cycle."""
        machines = [instance for instance, _ in self.lab.aws.world.machines.values()]
        return {
            eni.id: eni.source_dest_check
            for instance in machines
            if instance.state == "running"
            for eni in instance.nics.values()
        }
