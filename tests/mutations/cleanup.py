"""Mutations of `cloudroute cleanup`."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CLEANUP = (
    Mutation(
        "`cleanup` does not list the routes of gateways that it removes.",
        "cloudroute/core/cluster/leftovers.py",
        "(*use.ours.items(), *use.aggregates.items())",
        "use.ours.items()",
        ("tests/core/test_leftovers.py",),
    ),
    Mutation(
        "Without RouteTables `cleanup` keeps silent about gateways' routes for parts of a pool.",
        "cloudroute/core/cluster/leftovers.py",
        "for parts in _PARTS",
        "for parts in _PARTS[:1]",
        ("tests/core/test_leftovers.py",),
    ),
    Mutation(
        "`cleanup` tells people to delete a route to a transit gateway.",
        "cloudroute/core/cluster/leftovers.py",
        ' and use.table.routes[destination].target.startswith("eni-")',
        "",
        ("tests/core/test_leftovers.py",),
    ),
    Mutation(
        "`cleanup --yes` does not say which routes it leaves.",
        "cloudroute/commands/cleanup.py",
        ", leave=True, report=partial(_report, form))",
        ", leave=True)",
        ("tests/cli/test_commands.py::test_cleanup_says_which_routes_of_a_pool_it_leaves",),
    ),
)
