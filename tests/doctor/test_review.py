"""The questions of doctor to Kubernetes, put to a real API server: permissions above all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from cloudroute.adapters.kube.review import Review
from cloudroute.clock import SystemClock
from cloudroute.core.explain.doctor.cluster import permissions
from cloudroute.core.explain.doctor.facts import Permission
from cloudroute.crds import manifests
from cloudroute.errors import Forbidden
from cloudroute.lab.kube.real import RealKubeApi
from tests.accounts import CONTROLLER


@contextmanager
def review(real_kube: RealKubeApi, tmp_path: Path, user: str) -> Iterator[Review]:
    made = Review(str(real_kube.kubeconfig(tmp_path / user, user)))
    try:
        yield made
    finally:
        made.close()


def granted(manifest: Path) -> set[Permission]:
    """Permissions that the roles of a manifest give."""
    wanted: set[Permission] = set()
    for item in yaml.safe_load_all(manifest.read_text()):
        namespace = item["metadata"].get("namespace", "") if item["kind"] == "Role" else ""
        for rule in item.get("rules", ()):
            wanted |= {
                Permission(verb, group, resource, namespace, name)
                for verb in rule["verbs"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
            }
    return wanted


def test_the_permissions_are_those_of_the_manifest() -> None:
    """Each verb of deploy/rbac/controller.yaml is asked for, and no other."""
    assert set(permissions("cloudroute")) == granted(CONTROLLER)


@pytest.mark.parametrize("user", ["admin", "controller"])
def test_an_account_with_all_permissions(real_kube: RealKubeApi, tmp_path: Path, user: str) -> None:
    """The administrator and the controller's account lack nothing."""
    with review(real_kube, tmp_path, user) as asked:
        assert asked.refused(permissions("cloudroute")) == []


def test_a_verb_that_is_missing_is_named(real_kube: RealKubeApi, tmp_path: Path) -> None:
    """The controller's account in another namespace has no lease there."""
    with review(real_kube, tmp_path, "controller") as asked:
        assert [str(one) for one in asked.refused(permissions("elsewhere"))] == [
            f"{verb} leases.coordination.k8s.io in elsewhere" for verb in ("create", "get", "update")
        ]


def test_our_kinds_are_as_we_define_them(real_kube: RealKubeApi, tmp_path: Path) -> None:
    """A real server gives the schemas back as they were sent, so that a difference is one."""
    older = manifests()
    older[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "older"
    with review(real_kube, tmp_path, "admin") as asked:
        assert asked.crds(manifests()) == {"noderoutes": True, "routetables": True}
        assert asked.crds(older) == {"noderoutes": False, "routetables": True}
    with review(real_kube, tmp_path, "controller") as asked:
        assert asked.crds(older) == {"noderoutes": True, "routetables": True}, "it may not look, and does not guess"


def test_version_and_time(real_kube: RealKubeApi, tmp_path: Path) -> None:
    """Its clock is ours here."""
    with review(real_kube, tmp_path, "controller") as asked:
        version, ahead = asked.version(SystemClock())
    assert version.startswith("v1.")
    assert ahead is not None
    assert abs(ahead) < 5


def test_daemon_sets_and_managers(real_kube: RealKubeApi, tmp_path: Path) -> None:
    """An administrator sees them; the controller's account is refused."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    name = f"t-{time.monotonic_ns()}"
    metadata = {"name": name, "namespace": "kube-system"}
    real_kube.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
    try:
        with review(real_kube, tmp_path, "admin") as asked:
            (found,) = [one for one in asked.daemon_sets() if one.name == name]
            assert (found.kind, found.namespace, found.pods) == ("DaemonSet", "kube-system", 0)
            assert asked.managers() == []
        with review(real_kube, tmp_path, "controller") as asked, pytest.raises(Forbidden):
            asked.daemon_sets()
    finally:
        real_kube.delete("daemonsets", name, "kube-system")


def test_where_controllers_run(real_kube: RealKubeApi, tmp_path: Path) -> None:
    """By the hostname that each sees: on the host's network the node's, else the pod's; the controller may ask, too."""
    namespace = f"t-{time.monotonic_ns()}"
    real_kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for name, component, own in (
        ("c-1", "controller", {"hostNetwork": True, "nodeName": "node-1"}),
        ("c-2", "controller", {"nodeName": "node-2"}),
        ("c-3", "controller", {"hostNetwork": True}),
        ("a-1", "agent", {"hostNetwork": True, "nodeName": "node-1"}),
    ):
        labels = {"app.kubernetes.io/name": "cloudroute", "app.kubernetes.io/component": component}
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        spec = {"containers": [{"name": "c", "image": "i"}], **own}
        real_kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    with review(real_kube, tmp_path, "controller") as asked:
        assert asked.controllers(namespace) == {"node-1": "c-1", "c-2": "c-2"}
