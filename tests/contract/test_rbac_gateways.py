"""Permissions for the Leases of gateways under a real API server. Without that manifest the accounts have none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.lab.kube.real import RealKubeApi
from tests.accounts import AGENT, gateways_allowed, install, may
from tests.contract.test_rbac import VERBS

ALLOWED = {
    ("agent", ""): ["create", "patch"],
    ("agent", "cloudroute"): ["create", "patch"],  # the admission policy refuses both
    ("controller", ""): ["list", "watch", "create"],
    ("controller", "cloudroute"): ["get", "list", "watch", "create", "update"],
    ("controller", "gw-node-1"): ["list", "watch", "create"],
}
"""Allowed verbs on Leases of the namespace, by account and by the Lease's name ("" for all)."""


def allowed(server: RealKubeApi, account: str, name: str = "", namespace: str = "cloudroute") -> list[str]:
    """Verbs that an account may use on Leases."""
    user = f"system:serviceaccount:cloudroute:cloudroute-{account}"
    where = ("coordination.k8s.io", "leases")
    return [verb for verb in VERBS if may(server, user, *where, verb, namespace=namespace, name=name)]


@pytest.fixture(scope="module")
def server(real_kube: RealKubeApi) -> Iterator[RealKubeApi]:
    """The shared server with the manifest applied: other tests expect that it is not."""
    install(real_kube, AGENT)
    with gateways_allowed(real_kube):
        yield real_kube


@pytest.mark.parametrize(("who", "verbs"), ALLOWED.items(), ids=["-".join(filter(None, key)) for key in ALLOWED])
def test_each_verb_is_as_the_manifest_says(server: RealKubeApi, who: tuple[str, str], verbs: list[str]) -> None:
    """Of all verbs on Leases of the namespace, the listed ones are allowed and the others refused."""
    assert allowed(server, *who) == verbs


@pytest.mark.parametrize("account", ["agent", "controller"])
def test_the_leases_of_another_namespace_are_out_of_reach(server: RealKubeApi, account: str) -> None:
    """Leases of kube-system, by which other leaders are elected, are out of reach."""
    assert allowed(server, account, namespace="kube-system") == []
