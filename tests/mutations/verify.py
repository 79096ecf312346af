"""Mistakes in `cloudroute verify`."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

VERIFY = (
    Mutation(
        "A sample leaves out the path of a pair although there was room for one.",
        "cloudroute/core/verify/sample.py",
        "if len({*chosen, *pair}) <= number:",
        "if len({*chosen, *pair}) < number:",
        ("tests/core/test_verify_sample.py",),
    ),
    Mutation(
        "What a sample leaves out is not told.",
        "cloudroute/core/verify/sample.py",
        "absent = _pairs(usable, specs).keys() - _pairs(chosen, specs).keys()",
        "absent = _pairs(chosen, specs).keys() - _pairs(usable, specs).keys()",
        ("tests/core/test_verify_sample.py",),
    ),
    Mutation(
        "An answer that saw another source address is good.",
        "cloudroute/core/verify/judge.py",
        '"failed" if seen and shown and shown != seen else "ok"',
        '"ok"',
        ("tests/core/test_verify_judge.py",),
    ),
    Mutation(
        "Loss by the network counts as the probes' own as soon as they lost one packet.",
        "cloudroute/core/verify/judge.py",
        'if 0 < answer["lost"] <= answer["tool_lost"]:',
        'if 0 < answer["lost"] and answer["tool_lost"]:',
        ("tests/core/test_verify_judge.py",),
    ),
    Mutation(
        "A packet that left by the tunnel and by the NIC took the tunnel.",
        "cloudroute/core/verify/ways.py",
        "good = devices == {VTEP} if tunnel",
        "good = VTEP in devices if tunnel",
        ("tests/core/test_verify_judge.py",),
    ),
    Mutation(
        "A node in between is no difference.",
        "cloudroute/core/verify/ways.py",
        '"ok" if good and not between else "failed"',
        '"ok" if good else "failed"',
        ("tests/core/test_verify_judge.py",),
    ),
    Mutation(
        "A security group is blamed for full-size packets although small ones pass.",
        "cloudroute/core/verify/causes.py",
        "if not _goes_by(outcome, paths) or not _silent(outcome) or _small_pass(case):",
        "if not _goes_by(outcome, paths) or not _silent(outcome):",
        ("tests/core/test_verify_causes.py",),
    ),
    Mutation(
        "A cause that was seen comes after one that is merely possible.",
        "cloudroute/core/verify/causes.py",
        "found.sort(key=lambda one: -one[0])",
        "found.sort(key=lambda one: one[0])",
        ("tests/core/test_verify_causes.py",),
    ),
    Mutation(
        "verify removes an object of somebody else that has the name of one of its own.",
        "cloudroute/verify/stage.py",
        "            self._made.pop()\n            raise",
        "            raise",
        ("tests/cli/test_verify_stage.py",),
    ),
    Mutation(
        "verify leaves an object whose creation was not answered.",
        "cloudroute/verify/stage.py",
        "except (LostRace, Refused):",
        "except ApiError:",
        ("tests/cli/test_verify_stage.py",),
    ),
    Mutation(
        "verify does not wait for the pod with a port of its host.",
        "cloudroute/verify/stage.py",
        "for namespace in {where.namespace for where in wanted}",
        "for namespace in {NAMESPACE}",
        ("tests/cli/test_verify_stage.py",),
    ),
    Mutation(
        "A webhook configuration that a killed verify left ends the next run.",
        "cloudroute/verify/webhooks.py",
        "        stage.pods.delete(manifest)\n",
        "",
        ("tests/cli/test_verify_webhooks.py",),
    ),
    Mutation(
        "verify --webhooks removes a webhook configuration of somebody else.",
        "cloudroute/verify/webhooks.py",
        "!= [_HOOK]",
        "== []",
        ("tests/cli/test_verify_webhooks.py",),
    ),
    Mutation(
        "verify removes a webhook configuration that it could not create.",
        "cloudroute/verify/stage.py",
        "if any(one is manifest for one in self._made):",
        "if manifest:",
        ("tests/cli/test_verify_webhooks.py",),
    ),
    Mutation(
        "A webhook past the limit lacks a gateway, whatever else is not called.",
        "cloudroute/core/verify/causes.py",
        'in ("overlay", "partial") and not evidence.uncalled.intersection(("native", "direct"))',
        'in ("overlay", "partial")',
        ("tests/core/test_verify_causes.py",),
    ),
    Mutation(
        "A VPC host that answers, and saw another address, lets no pods in.",
        "cloudroute/core/verify/causes.py",
        '    if _silent(outcome):\n        cause = "the host',
        '    if outcome:\n        cause = "the host',
        ("tests/core/test_verify_causes.py",),
    ),
    Mutation(
        "A node of the sample without an agent is as good as one with it.",
        "cloudroute/core/verify/coverage.py",
        "_trouble(routes[node.name].status) if node.name in agents else",
        "_trouble(routes[node.name].status) if routes else",
        ("tests/core/test_verify_coverage.py",),
    ),
    Mutation(
        "A node that can't be tried is not named.",
        "cloudroute/core/verify/coverage.py",
        "elif node.name not in routes:",
        "elif node.name in routes and node.name not in routes:",
        ("tests/core/test_verify_coverage.py",),
    ),
)
