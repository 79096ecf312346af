"""The real API server in the lab: it can be stopped and started, and knows the users it was given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3

from cloudroute.lab.kube.real import RealKubeApi, find_assets
from cloudroute.lab.kube.remote import RemoteCluster
from tests.required import lacking

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
def kube() -> Iterator[RealKubeApi]:
    """A server of the test's own: it stops it."""
    if find_assets() is None:
        lacking("apiserver")
    server = RealKubeApi()
    server.add_user("system:node:one")
    server.start()
    yield server
    server.close()


def identity(kube: RealKubeApi, user: str) -> tuple[str, set[str]]:
    """User name and groups, as the server sees them."""
    asking = RemoteCluster(kube.url, kube.token_of(user), kube.ca_file)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    info = asking.request("POST", REVIEW, body)["status"]["userInfo"]
    asking.disconnect()
    return info["username"], set(info["groups"])


def test_a_stopped_server_comes_back_as_it_was(kube: RealKubeApi) -> None:
    """After a restart it has the same address, certificate, tokens and objects, and the users added meanwhile."""
    kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}})
    before = kube.url, kube.ca_file.read_bytes(), kube.get("configmaps", "kept", "default")
    kube.stop_server()
    with pytest.raises(urllib3.exceptions.HTTPError):
        kube.get("configmaps", "kept", "default")
    kube.add_user("system:serviceaccount:cloudroute:agent")
    kube.start_server()
    assert (kube.url, kube.ca_file.read_bytes(), kube.get("configmaps", "kept", "default")) == before
    assert identity(kube, "system:node:one") == ("system:node:one", {"system:nodes", "system:authenticated"})
    assert identity(kube, "system:serviceaccount:cloudroute:agent") == (
        "system:serviceaccount:cloudroute:agent",
        {"system:serviceaccounts", "system:serviceaccounts:cloudroute", "system:authenticated"},
    )
