"""Mutations of the controller's cycle."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CONTROLLER = "cloudroute/controller"

CONTROLLER = (
    Mutation(
        "After a slow read of the tables, deletions wait for another read.",
        f"{_CONTROLLER}/ec2_cache.py",
        "        tables = self._ec2.route_tables(self.vpc_id)\n        self.tables_read = self._clock.monotonic()\n",
        "        self.tables_read = self._clock.monotonic()\n        tables = self._ec2.route_tables(self.vpc_id)\n",
        ("tests/controller/test_slow_reads.py",),
    ),
    Mutation(
        "While a Node has a new instance, EC2 is asked for the old one in each cycle.",
        f"{_CONTROLLER}/ec2_cache.py",
        "due = self._doubted.due(instance_ids, now)",
        "due = set(instance_ids)",
        ("tests/controller/test_identity.py::test_an_instance_whose_node_is_another_one_is_read_again_once",),
    ),
    Mutation(
        "A Node that becomes another instance again, minutes later, has routes to the former one until a resync.",
        f"{_CONTROLLER}/ec2_cache.py",
        "            self._doubted.keep(())\n",
        "",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "An instance that EC2 does not show any more counts as it was last seen.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self._instances.forget(self.instances.keys() - found.keys())",
        "pass",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "EC2 is asked each second for an instance that it does not know.",
        f"{_CONTROLLER}/lookups.py",
        "min(pause * 2, self._longest)",
        "pause",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "The loop never rests once it has asked for an instance whose Node is gone by now.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self._missing_instances.keep(wanted - self.instances.keys())",
        "pass",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "The loop never rests once it has asked for a subnet that EC2 did not show at first.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self._missing_subnets.keep(missing)",
        "pass",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "Each full table costs a read of the node's instance.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self.refused.add((step.table_id, step.destination.family))\n            return\n",
        "self.refused.add((step.table_id, step.destination.family))\n",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "After a restart without Service Quotas, routes past the default limit are deleted.",
        f"{_CONTROLLER}/ec2_cache.py",
        "*(before or [FALLBACK_LIMIT]), *held",
        "*(before or [FALLBACK_LIMIT])",
        ("tests/controller/test_robust.py",),
    ),
    Mutation(
        "After a lost race the routes are planned from the instance as it was.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self._instances.forget([instance_id])",
        "pass",
        ("tests/controller/test_instances.py::test_an_instance_that_ends_before_its_route_is_made_is_read_again",),
    ),
    Mutation(
        "A route that EC2 has contradicted is believed for a minute.",
        f"{_CONTROLLER}/ec2_cache.py",
        "self._tables.contradict(step.table_id, step.destination)",
        "pass",
        ("tests/controller/test_ec2_cache.py",),
    ),
    Mutation(
        "A step that loses every race is tried ten times a second.",
        f"{_CONTROLLER}/backoff.py",
        "isinstance(error, LostRace) and attempts == 1",
        "isinstance(error, LostRace)",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "An API server that asks for a pause of one second shortens the back-off of a minute.",
        f"{_CONTROLLER}/backoff.py",
        "pause = max(pause, error.retry_after)",
        "pause = error.retry_after",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "A Node that was made anew waits for its condition, as if somebody had reverted it.",
        f"{_CONTROLLER}/backoff.py",
        "(step.node.uid, step.condition)",
        "step.condition",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "One full table stops the routes of all others.",
        f"{_CONTROLLER}/apply.py",
        "self._closed.add(_needs(step)[1])",
        "self._closed.add(_needs(step)[0])",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "A write whose answer was lost is taken not to have happened.",
        f"{_CONTROLLER}/apply.py",
        "LostRace | LimitExceeded | Unreachable):",
        "LostRace | LimitExceeded):",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "Writes that wait for a thread still start after a stop was requested.",
        f"{_CONTROLLER}/apply.py",
        "if self._stop.is_set():  #",
        "if False:  #",
        ("tests/controller/test_apply.py",),
    ),
    Mutation(
        "A standby counts a renewal from before it read it: it takes over from a living leader.",
        f"{_CONTROLLER}/lease.py",
        "found, self._clock.monotonic() + found.duration_seconds",
        "found, start + found.duration_seconds",
        ("tests/controller/test_lease.py",),
    ),
    Mutation(
        "A new cluster does not see that another one of its name uses tables that its first nodes bring.",
        f"{_CONTROLLER}/reader.py",
        "self._owners_reading != self.cache.reading or not self._cluster.node_routes.items()",
        "self._owners_reading != self.cache.reading",
        (
            "tests/rivals/test_one_name.py::"
            "test_a_controller_that_waits_for_its_first_node_sees_whose_routes_are_in_the_table_that_it_brings",
        ),
    ),
    Mutation(
        "Deletions that wait for a new read of the tables wait for the next resync.",
        f"{_CONTROLLER}/reconciler.py",
        "self._reader.cache.tables_stale = True",
        "pass",
        ("tests/controller/test_slow_reads.py",),
    ),
    Mutation(
        "Tables that must be read again are read at the next resync where a cycle has done nothing.",
        f"{_CONTROLLER}/reconciler.py",
        "elif done or self._reader.cache.tables_stale:",
        "elif done:",
        ("tests/controller/test_slow_reads.py",),
    ),
    Mutation(
        "The status page names a leader that has lost the lease.",
        f"{_CONTROLLER}/status_page.py",
        "(known.leads == state.leads and now - since < FRESH_SECONDS)",
        "now - since < FRESH_SECONDS",
        ("tests/page/test_served.py",),
    ),
    Mutation(
        "A new leader that does not know of a pool withdraws the nodes that its predecessor gave CIDRs of it.",
        f"{_CONTROLLER}/process.py",
        "                loop.check()  # again",
        "                pass  # again",
        ("tests/controller/test_process.py::test_a_standby_that_does_not_know_a_new_pool_does_not_lead",),
    ),
    Mutation(
        "`cleanup` is refused because a Node has a CIDR that cloudroute did not give it.",
        f"{_CONTROLLER}/reader.py",
        "nodes = {} if self.policy.leave else self._cluster.nodes.items()",
        "nodes = self._cluster.nodes.items()",
        ("tests/controller/test_settings.py",),
    ),
)
