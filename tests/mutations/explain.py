"""Mutations of paths and their explanations."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

EXPLAIN = (
    Mutation(
        "A pair whose kubelets have not reported their IPv6 addresses sends IPv6 by the overlay although routes exist.",
        "cloudroute/core/paths.py",
        "here != there",
        "not (here and there)",
        ("tests/core/test_paths.py",),
    ),
    Mutation(
        "The second node of a subnet does not count as a sender to the first.",
        "cloudroute/core/paths.py",
        "if other != mine or size > 1",
        "if other != mine",
        ("tests/core/test_paths.py",),
    ),
    Mutation(
        "`path` says that a pod keeps its address toward the VPC's Resolver.",
        "cloudroute/core/explain/trace.py",
        " and not _reserved(outside, served[1]):",
        ":",
        ("tests/core/test_paths_trace.py",),
    ),
    Mutation(
        "`path` names a table without a route to the node although another one of that subnet leads to it.",
        "cloudroute/core/explain/trace.py",
        "return table.id not in self.specs[node].native_in, self._aggregate",
        "return False, self._aggregate",
        ("tests/core/test_paths_trace.py",),
    ),
    Mutation(
        "`path` and `verify` expect a masqueraded pod where agents keep its address by a gateway.",
        "cloudroute/core/explain/trace.py",
        "if served and not native and self.keeps_source else None",
        "if not served else None",
        ("tests/core/test_paths_gateways.py",),
    ),
    Mutation(
        "`path` expects that a pod keeps its address by a gateway though no agent is told so.",
        "cloudroute/core/explain/trace.py",
        " and not native and self.keeps_source else None",
        " and not native else None",
        ("tests/core/test_paths_gateways.py",),
    ),
    Mutation(
        "doctor passes a single Node whose pod CIDR lies outside the pools.",
        "cloudroute/core/explain/doctor/cluster.py",
        "if cidr not in node_sized",
        "if not node_sized",
        ("tests/doctor/test_breaks.py",),
    ),
    Mutation(
        "doctor passes gateways that a kubelet can choose by leaving a label away.",
        "cloudroute/core/explain/doctor/gateways.py",
        "not one.negated and not kubelet_may_set",
        "not kubelet_may_set",
        ("tests/core/test_doctor_gateways.py",),
    ),
    Mutation(
        "doctor passes gateways by a label of Kubernetes that kubelets report.",
        "cloudroute/core/explain/doctor/gateways.py",
        "label in _KUBELET_LABELS or ",
        "",
        ("tests/core/test_doctor_gateways.py",),
    ),
    Mutation(
        "doctor finds fault with a port that an ACL allows, next to one that it denies.",
        "cloudroute/core/explain/doctor/acls.py",
        "cidr, rule.ports[1] + 1, last)",
        "cidr, rule.ports[1], last)",
        ("tests/core/test_acls.py",),
    ),
    Mutation(
        "doctor takes an enforcer that runs on no node for one that enforces the policies.",
        "cloudroute/core/explain/doctor/policies.py",
        "running = [one for one in known(facts.kubernetes.daemon_sets) if one.pods]",
        "running = list(known(facts.kubernetes.daemon_sets))",
        ("tests/core/test_doctor.py",),
    ),
    Mutation(
        "The status page says that a table is full while it has one entry past the reserve.",
        "cloudroute/core/explain/overview/why.py",
        "use.free(family) <= reserve",
        "use.free(family) <= reserve + 1",
        ("tests/page/test_compose.py",),
    ),
)
