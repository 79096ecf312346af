"""kubectl against both servers."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.conftest import Api
from tests.contract.test_events import event

Kubectl = Callable[..., str]

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "spec": {"podCIDRs": ["10.1.0.0/24"], "providerID": "aws:///us-east-1a/i-1"},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
        "nodeInfo": {"kubeletVersion": "v1.34.0"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "all is well"}],
    },
}
ROUTE: dict[str, Any] = {
    "apiVersion": "cloudroute.io/v1alpha1",
    "kind": "NodeRoute",
    "spec": {
        "podCIDRs": ["10.1.0.0/24"],
        "nodeIPs": ["10.0.0.9"],
        "instanceID": "i-1",
        "networkInterfaceID": "eni-1",
        "subnetID": "subnet-1",
        "routeTableID": "rtb-1",
    },
}


@pytest.fixture
def run(kubectl: str, kubeconfig: str, tmp_path: Path) -> Kubectl:
    """Run kubectl; returns its output, with stderr where `expect` is not 0."""

    def run(*words: str, stdin: Any = None, expect: int = 0) -> str:
        done = subprocess.run(
            [kubectl, *words],
            input=None if stdin is None else yaml.safe_dump(stdin),
            env={"KUBECONFIG": kubeconfig, "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == expect, done.stderr
        return done.stdout if expect == 0 else done.stdout + done.stderr

    return run


def named(item: dict[str, Any], name: str, **metadata: Any) -> dict[str, Any]:
    return {**item, "metadata": {"name": name, **metadata}}


def test_get_prints_tables_and_objects(kube_api: Api, run: Kubectl, name: str) -> None:
    """A table, a wide one, JSON, YAML and a name."""
    kube_api.create(named(NODE, name))
    table = run("get", "node", name).splitlines()
    assert (table[0].split()[:3], table[1].split()[:2]) == (["NAME", "STATUS", "ROLES"], [name, "Ready"])
    assert "10.0.0.9" in run("get", "no", name, "-o", "wide")
    assert json.loads(run("get", "node", name, "-o", "json"))["kind"] == "Node"
    assert yaml.safe_load(run("get", "node", name, "-o", "yaml"))["spec"]["podCIDR"] == "10.1.0.0/24"
    assert run("get", "node", name, "-o", "name") == f"node/{name}\n"
    assert "NotFound" in run("get", "node", f"{name}-none", expect=1)


def test_describe_shows_a_node_with_its_events(kube_api: Api, run: Kubectl, name: str) -> None:
    """kubectl describe shows conditions, pod CIDRs and Events of a Node."""
    kube_api.create(named(NODE, name))
    written = event(name, metadata={"name": name, "namespace": "default"})
    kube_api.create({"apiVersion": "events.k8s.io/v1", "kind": "Event", **written})
    text = run("describe", "node", name)
    for expected in ("10.1.0.0/24", "KubeletReady", "OverlayFallback", "rtb-1 is full"):
        assert expected in text


@pytest.mark.parametrize("where", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_apply_creates_changes_and_removes(run: Kubectl, name: str, where: tuple[str, ...]) -> None:
    """kubectl apply creates and changes objects, and removes fields; a second run changes nothing."""
    route = named(ROUTE, name, labels={"a": "1", "b": "2"})
    run("apply", *where, "-f", "-", stdin=route)
    first = json.loads(run("get", "nr", name, "-o", "json"))
    run("apply", *where, "-f", "-", stdin=route)
    again = json.loads(run("get", "nr", name, "-o", "json"))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    route = named({**ROUTE, "spec": {**ROUTE["spec"], "subnetID": "subnet-2"}}, name, labels={"a": "1"})
    run("apply", *where, "-f", "-", stdin=route)
    changed = json.loads(run("get", "nr", name, "-o", "json"))
    assert (changed["spec"]["subnetID"], changed["metadata"]["labels"]) == ("subnet-2", {"a": "1"})


def test_apply_of_a_node_merges(kube_api: Api, run: Kubectl, name: str) -> None:
    """kubectl makes a strategic merge patch of a built-in kind."""
    run("apply", "-f", "-", stdin=named({"apiVersion": "v1", "kind": "Node"}, name, labels={"a": "1"}))
    kube_api.patch("nodes", name, {"metadata": {"labels": {"other": "1"}}})
    run("apply", "-f", "-", stdin=named({"apiVersion": "v1", "kind": "Node"}, name, labels={"b": "2"}))
    assert kube_api.get("nodes", name)["metadata"]["labels"] == {"b": "2", "other": "1"}


def test_diff_shows_what_apply_would_do(run: Kubectl, name: str) -> None:
    """It exits with 1 and prints the line that differs; nothing is changed."""
    run("apply", "-f", "-", stdin=named(ROUTE, name))
    other = named({**ROUTE, "spec": {**ROUTE["spec"], "subnetID": "subnet-2"}}, name)
    assert "+  subnetID: subnet-2" in run("diff", "-f", "-", stdin=other, expect=1)
    assert run("get", "nr", name, "-o", "jsonpath={.spec.subnetID}") == "subnet-1"


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", '{"metadata":{"labels":{"a":"1"}}}'),
        ("strategic", '{"metadata":{"labels":{"a":"1"}}}'),
        ("json", '[{"op":"add","path":"/metadata/labels","value":{"a":"1"}}]'),
    ],
)
def test_patch_and_label(kube_api: Api, run: Kubectl, name: str, kind: str, patch: str) -> None:
    """All types of patch, of the status too; label and annotate."""
    kube_api.create(named(NODE, name))
    run("patch", "node", name, "--type", kind, "-p", patch)
    run("label", "node", name, "b=2")
    run("annotate", "node", name, "cloudroute.io/priority=7")
    status = '{"status":{"conditions":[{"type":"NetworkUnavailable","status":"False"}]}}'
    run("patch", "node", name, "--subresource", "status", "-p", status)
    node = kube_api.get("nodes", name)
    assert {"a": "1", "b": "2"}.items() <= node["metadata"]["labels"].items()
    assert node["metadata"]["annotations"]["cloudroute.io/priority"] == "7"
    assert {item["type"] for item in node["status"]["conditions"]} == {"NetworkUnavailable", "Ready"}


def test_wait_sees_a_condition_come(kube_api: Api, run: Kubectl, name: str) -> None:
    """It watches until the condition is there, and until the object is gone."""
    kube_api.create(named({"apiVersion": "v1", "kind": "Node"}, name))
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    later = threading.Timer(0.3, kube_api.patch_status, ("nodes", name, status))
    later.start()
    run("wait", "--for=condition=Ready", f"node/{name}", "--timeout=10s")
    later.join()
    later = threading.Timer(0.3, kube_api.delete, ("nodes", name))
    later.start()
    run("wait", "--for=delete", f"node/{name}", "--timeout=10s")
    later.join()


def test_get_watch_goes_on_with_changes(kube_api: Api, kubectl: str, kubeconfig: str, name: str) -> None:
    """`get -w` prints the object, then a row as it changes."""
    done = threading.Event()

    def change() -> None:
        # Repeatedly: kubectl misses a change between its list and its watch.
        for path in itertools.cycle(("overlay", "partial")):
            kube_api.patch_status("noderoutes", name, {"path": path})
            if done.wait(0.3):
                return

    kube_api.create(named(ROUTE, name))
    command = [kubectl, "--kubeconfig", kubeconfig, "get", "nr", name, "-w", "--request-timeout=20s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:3] == ["NAME", "POD-CIDR", "PATH"]
        assert process.stdout.readline().split()[0] == name
        changes = threading.Thread(target=change)
        changes.start()
        row = process.stdout.readline().split()
        done.set()
        changes.join()
        process.kill()
    assert row[2] in ("overlay", "partial")


def test_delete_waits_until_it_is_gone(run: Kubectl, kube_api: Api, name: str) -> None:
    """By name and by label."""
    for suffix in "ab":
        kube_api.create(named(ROUTE, f"{name}-{suffix}", labels={"set": name}))
    run("delete", "nr", f"{name}-a")
    run("delete", "nr", "-l", f"set={name}")
    assert run("get", "nr", "-l", f"set={name}", "-o", "name") == ""
