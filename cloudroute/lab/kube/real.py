"""A real kube-apiserver with its etcd, on the loopback, for as long as a test session or a demo lasts.

The binaries are looked for as envtest does: in $KUBEBUILDER_ASSETS, else where tests/tools/kube-assets.sh puts them.
Permissions are enforced: besides an administrator there is the controller's ServiceAccount, with the rights that
deploy/rbac/controller.yaml gives it once that is applied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import urllib3

from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from cloudroute.lab.kube.remote import RemoteCluster

KUBERNETES_VERSION = "1.34.0"
BINARIES = ("kube-apiserver", "etcd")
START_SECONDS = 60.0
"""A loaded machine needs a while; an idle one two seconds."""
TOKENS = MappingProxyType({"admin": "admin-token", "controller": "controller-token"})
"""The token of each user."""
_SERVICE_ACCOUNT = "system:serviceaccount:cloudroute:cloudroute-controller"
_SERVICE_ACCOUNT_GROUPS = "system:serviceaccounts,system:serviceaccounts:cloudroute"


def find_assets() -> Path | None:
    """The folder with kube-apiserver and etcd, or None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or cache / "cloudroute" / f"kube-{KUBERNETES_VERSION}")
    return folder if all(os.access(folder / name, os.X_OK) for name in BINARIES) else None


class RealKubeApi(RemoteCluster):
    """`start` returns when the server is ready; `close` ends both processes and removes their data.

    Users are "admin", who may do everything, and "controller". Objects are accessed as the administrator.
    """

    def __init__(self, assets: Path | None = None) -> None:
        found = assets or find_assets()
        if found is None:
            raise FileNotFoundError("kube-apiserver and etcd are not there: run tests/tools/kube-assets.sh")
        self._assets = found
        self._folder = Path(tempfile.mkdtemp(prefix="cloudroute-kube-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._etcd_url = ""
        super().__init__(f"https://127.0.0.1:{_free_port()}", TOKENS["admin"], self.ca_file)

    @property
    def token(self) -> str:
        """The administrator's."""
        return TOKENS["admin"]

    @property
    def ca_file(self) -> Path:
        """What the server's certificate is checked with."""
        return self._folder / "apiserver.crt"

    def kubeconfig(self, path: Path | None = None, user: str = "admin") -> Path:
        """Write a kubeconfig for `user`, beside the server's data when no path is given."""
        return write_kubeconfig(self.url, TOKENS[user], self.ca_file, user, path or self._folder / f"kubeconfig-{user}")

    def start(self) -> None:
        """Start etcd and the server. Raises RuntimeError, with what they said, when they don't become ready."""
        try:
            self._start_etcd()
            self._start_server()
        except BaseException:
            self.close()
            raise

    def compact(self) -> None:
        """Have etcd forget all but the present: watches and lists of ConfigMaps from before can't go on."""
        with urllib3.PoolManager(timeout=10) as http:
            version = self.request("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
            http.request("POST", f"{self._etcd_url}/v3/kv/compaction", json={"revision": version, "physical": True})

    def close(self) -> None:
        """End both processes, the server first."""
        self.disconnect()
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_etcd(self) -> None:
        self._etcd_url, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
        flags = {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": self._etcd_url,
            "advertise-client-urls": self._etcd_url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
        }
        self._run("etcd", flags, lambda: _answers(f"{self._etcd_url}/health"))

    def _start_server(self) -> None:
        # The key of the certificate that the server makes for itself: it also signs what no test here asks for.
        key = self._folder / "apiserver.key"
        tokens = self._folder / "tokens.csv"
        tokens.write_text(
            f"{TOKENS['admin']},admin,1,system:masters\n"
            f'{TOKENS["controller"]},{_SERVICE_ACCOUNT},2,"{_SERVICE_ACCOUNT_GROUPS}"\n'
        )
        flags = {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": self.url.rpartition(":")[2],
            "cert-dir": self._folder,
            "token-auth-file": tokens,
            "authorization-mode": "RBAC",
            "anonymous-auth": "false",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            # Where it has no watch cache, the server forgets what etcd forgets: `compact` shows then.
            "watch-cache-sizes": "configmaps#0",
            # No controller manager makes the accounts that this plugin wants each pod to have.
            "disable-admission-plugins": "ServiceAccount",
        }
        self._run("kube-apiserver", flags, self._is_ready)

    def _is_ready(self) -> bool:
        return self.ca_file.exists() and _answers(f"{self.url}/readyz", self.token, str(self.ca_file))

    def _run(self, name: str, flags: dict[str, Any], ready: Callable[[], bool]) -> None:
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            command = [str(self._assets / name), *(f"--{flag}={value}" for flag, value in flags.items())]
            process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - our own words and paths
        self._processes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                end = f"ended with {process.returncode}" if process.returncode is not None else "is not ready"
                raise RuntimeError(f"{name} {end}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)


def _answers(url: str, token: str = "", ca_file: str | None = None) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError), urllib3.PoolManager(ca_certs=ca_file) as http:
        return http.request("GET", url, headers=headers, retries=False, timeout=2).status == 200
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
