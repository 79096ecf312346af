"""Kubeconfigs in the form of nodes' are parsed by our code, others by the `kubernetes` package, with equal results."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute.adapters.kube import access
from cloudroute.adapters.kube.access import NoAccess, find_access
from cloudroute.adapters.kube.transport import Transport
from cloudroute.errors import UsageError
from cloudroute.lab.kube import KubeApi, KubeServer
from cloudroute.lab.kube.real import RealKubeApi


@pytest.fixture
def server() -> Iterator[KubeServer]:
    server = KubeApi().serve()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in access.PROXIES:
        monkeypatch.delenv(name, raising=False)


def config(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> str:
    """A kubeconfig, as kubectl would write it."""
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return str(path)


def answers(kubeconfig: str) -> bool:
    transport = Transport(kubeconfig)
    try:
        return "gitVersion" in transport.request("GET", "/version")
    finally:
        transport.close()


def test_a_token_and_a_tokens_file_that_is_replaced(
    server: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_package(_: object) -> None:
        pytest.fail("17 MB for nothing")

    monkeypatch.setattr(access, "_by_package", no_package)
    assert find_access(config(tmp_path / "a", server.url, {"token": "one"})).headers() == {
        "authorization": "Bearer one"
    }
    (tmp_path / "token").write_text("two\n")
    found = find_access(config(tmp_path / "b", server.url, {"tokenFile": "token"}))
    assert found.headers() == {"authorization": "Bearer two"}
    (tmp_path / "token").write_text("three")
    assert found.headers() == {"authorization": "Bearer two"}, "it is read once a minute"
    monkeypatch.setattr(access, "TOKEN_SECONDS", 0)
    found = find_access(str(tmp_path / "b"))
    found.headers()
    (tmp_path / "token").write_text("")
    with pytest.raises(NoAccess, match="is empty"):
        found.headers()
    assert answers(str(tmp_path / "a"))


def test_a_certificate_authority_by_file_and_inline(real_kube: RealKubeApi, tmp_path: Path) -> None:
    user = {"token": real_kube.token}
    authority = real_kube.ca_file.read_bytes()
    inline = base64.b64encode(authority).decode()
    assert answers(config(tmp_path / "a", real_kube.url, user, **{"certificate-authority": str(real_kube.ca_file)}))
    assert answers(config(tmp_path / "b", real_kube.url, user, **{"certificate-authority-data": inline}))
    with pytest.raises(Exception, match="certificate"):
        answers(config(tmp_path / "c", real_kube.url, user))


def test_the_pods_service_account(real_kube: RealKubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "token").write_text(real_kube.token)
    (tmp_path / "ca.crt").write_bytes(real_kube.ca_file.read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", real_kube.url.rpartition(":")[2])
    transport = Transport(None)
    assert "gitVersion" in transport.request("GET", "/version")
    transport.close()


def test_a_kubeconfig_with_a_plugin_is_read_by_the_package(server: KubeServer, tmp_path: Path) -> None:
    credential = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"plugged"}}'
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print('{credential}')"],
        "interactiveMode": "Never",
    }
    found = find_access(config(tmp_path / "a", server.url, {"exec": plugin}))
    assert found.headers() == {"authorization": "Bearer plugged"}
    assert answers(config(tmp_path / "b", server.url, {"token": "x"}, **{"insecure-skip-tls-verify": True}))


def test_home_is_expanded(server: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config(tmp_path / "kubeconfig", server.url, {"token": "x"})
    assert answers("~/kubeconfig")


@pytest.mark.parametrize("text", ["", "{", "[]", "current-context: c", "contexts: 7\ncurrent-context: c"])
def test_a_malformed_kubeconfig_is_reported_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken").write_text(text)
    with pytest.raises(UsageError, match=r"--kubeconfig .*broken can't be used"):
        Transport(str(tmp_path / "broken"))
    with pytest.raises(UsageError, match=r"--kubeconfig .*missing can't be used"):
        Transport(str(tmp_path / "missing"))
