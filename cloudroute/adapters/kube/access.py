"""Address of the API server, and the credentials for it.

The `kubernetes` package reads every kubeconfig, with exec plugins, identity providers and proxies; but it takes 17 MB
to import, on each node and for nothing. So the two ways that nodes use, a pod's service account and a kubeconfig with a
token or with certificate files, are read here, and the package is imported only for others.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import urllib3
import yaml

POOL_SIZE = 32
"""Connections: enough for 16 writers, three watches, the lease and the probes of commands."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_SECONDS = 60.0
"""Seconds between two reads of a token's file: Kubernetes replaces the token well before it expires."""

_CLUSTER = {"server", "certificate-authority", "certificate-authority-data"}
_FILES = ("certificate-authority", "client-certificate", "client-key")
_USER = {"token", "tokenFile", "client-certificate", "client-key"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # Options that not every system has.
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 9))
        if hasattr(socket, name)
    ),
]
"""TCP keepalive as in client-go: an idle watch is probed after 30 s."""


class NoAccess(Exception):
    """The token is not available at the moment; the text tells why."""


class Access(NamedTuple):
    """`headers` returns the HTTP headers that authenticate a request; it raises OSError or NoAccess."""

    url: str
    pool: urllib3.PoolManager
    headers: Callable[[], Mapping[str, str]]


def find_access(kubeconfig: str | None) -> Access:
    """Return the access by a kubeconfig, or by the pod's service account. Raises any error of reading it."""
    if any(os.environ.get(name) for name in PROXIES):
        return _by_package(kubeconfig)
    if kubeconfig is None:
        return _by_service_account()
    return _by_file(Path(kubeconfig).expanduser()) or _by_package(kubeconfig)


def _by_service_account() -> Access:
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{word}", "") for word in ("HOST", "PORT"))
    if not (host and port):
        raise ValueError("KUBERNETES_SERVICE_HOST and _PORT are not set")
    token = _TokenFile(SERVICE_ACCOUNT / "token")
    token()
    pool = _pool(ca_certs=str(SERVICE_ACCOUNT / "ca.crt"))
    return Access(f"https://{f'[{host}]' if ':' in host else host}:{port}", pool, token)


def _by_file(path: Path) -> Access | None:
    """Access by a kubeconfig; None for one that needs the package, or is invalid: the package then raises the error."""
    try:
        return _read(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError):
        return None


def _read(path: Path) -> Access | None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    context = _named(config, "contexts", config["current-context"])["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = (_named(config, "users", context["user"]).get("user") if context.get("user") else None) or {}
    if cluster.keys() - _CLUSTER or user.keys() - _USER:
        return None
    named = {**cluster, **user}
    files = {key: str(path.parent / named[key]) for key in _FILES if key in named}
    inline = cluster.get("certificate-authority-data")
    pool = _pool(
        ca_certs=files.get("certificate-authority"),
        ca_cert_data=base64.b64decode(inline).decode() if inline else None,
        cert_file=files.get("client-certificate"),
        key_file=files.get("client-key"),
    )
    return Access(str(cluster["server"]).rstrip("/"), pool, _headers(user, path.parent))


def _headers(user: Mapping[str, Any], folder: Path) -> Callable[[], Mapping[str, str]]:
    if "token" in user:
        fixed = {"authorization": f"Bearer {user['token']}"}
        return lambda: fixed
    return _TokenFile(folder / user["tokenFile"]) if "tokenFile" in user else dict


def _named(config: Mapping[str, Any], plural: str, name: str) -> Mapping[str, Any]:
    for item in config.get(plural) or ():
        if item["name"] == name:
            found: Mapping[str, Any] = item
            return found
    raise ValueError(f"it has no {plural.removesuffix('s')} {name!r}")


def _pool(**options: str | None) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        maxsize=POOL_SIZE,
        socket_options=_KEEPALIVE,
        cert_reqs="CERT_REQUIRED",
        **{name: value for name, value in options.items() if value},  # type: ignore[arg-type] # all values are str
    )


class _TokenFile:
    """The Authorization header of a token whose file is replaced from time to time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header: Mapping[str, str] = {}
        self._due = float("-inf")

    def __call__(self) -> Mapping[str, str]:
        if time.monotonic() >= self._due:
            token = self._path.read_text(encoding="utf-8").strip()
            if not token:
                raise NoAccess(f"{self._path} is empty")
            self._header = {"authorization": f"Bearer {token}"}
            self._due = time.monotonic() + TOKEN_SECONDS
        return self._header


def _by_package(kubeconfig: str | None) -> Access:
    from kubernetes import config as loaders
    from kubernetes.client.rest import RESTClientObject

    loaded = configuration(kubeconfig)

    def headers() -> Mapping[str, str]:
        try:
            return headers_of(loaded)
        except loaders.ConfigException as error:
            raise NoAccess(str(error)) from error

    return Access(str(loaded.host), RESTClientObject(loaded).pool_manager, headers)


def configuration(kubeconfig: str | None) -> Any:
    """Return the `kubernetes` package's own Configuration. Raises any error of reading it."""
    from kubernetes import config as loaders
    from kubernetes.client.configuration import Configuration

    loaded = Configuration(retries=False)
    loaded.connection_pool_maxsize = POOL_SIZE
    loaded.keep_alive = True
    # The package ships no types for its loaders, hence the two ignores.
    if kubeconfig is None:
        loaders.load_incluster_config(client_configuration=loaded)  # type: ignore[no-untyped-call]
    else:
        load = loaders.load_kube_config
        load(kubeconfig, client_configuration=loaded, persist_config=False)  # type: ignore[no-untyped-call]
    return loaded


def headers_of(loaded: Any) -> Mapping[str, str]:
    """Return the HTTP headers by which a Configuration authenticates; they may change with each call."""
    settings: Mapping[str, Any] = loaded.auth_settings()
    return {setting["key"]: setting["value"] for setting in settings.values()}
