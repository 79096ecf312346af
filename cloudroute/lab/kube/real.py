"""A real kube-apiserver with its etcd, on the loopback, for the duration of a test session or a demo.

The binaries are looked for as envtest does: in $KUBEBUILDER_ASSETS, else where tests/tools/kube-assets.sh puts them.
Permissions are enforced. Users are an administrator, the controller's ServiceAccount, with the rights that
deploy/rbac/controller.yaml gives it once that is applied, and all added ones. With a control plane, the controller
manager and the scheduler run too, and Deployments and DaemonSets become pods wherever kubelets register.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import urllib3

from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from cloudroute.lab.kube.remote import RemoteCluster

KUBERNETES_VERSION = "1.34.0"
BINARIES = ("kube-apiserver", "etcd")
CONTROL_PLANE = (*BINARIES, "kube-controller-manager", "kube-scheduler")
START_SECONDS = 60.0
"""Time limit of the start: a loaded machine is slow; an idle one needs two seconds."""
TOKENS = MappingProxyType({"admin": "admin-token", "controller": "controller-token"})
"""Tokens of the two built-in users."""
_PORTS = range(20000, 30000)
"""Ports below the kernel's ephemeral range: no client takes the server's port while it is stopped."""
_PORTS_OF_A_PROCESS = 100
"""So that two that start servers at the same time don't choose the same: they are free until a server listens."""
_ACCOUNT = "system:serviceaccount:"
NODE_USER = "system:node:"
"""Prefix of a kubelet's user name."""
_USERS = MappingProxyType({"admin": "admin", "controller": f"{_ACCOUNT}cloudroute:cloudroute-controller"})


def find_assets(binaries: Iterable[str] = BINARIES) -> Path | None:
    """Return the folder with these programs (kube-apiserver and etcd by default), or None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or cache / "cloudroute" / f"kube-{KUBERNETES_VERSION}")
    return folder if all(os.access(folder / name, os.X_OK) for name in binaries) else None


class RealKubeApi(RemoteCluster):
    """A kube-apiserver. `start` returns when it is ready; `close` ends all processes and removes their data.

    Users are "admin" (all rights), "controller", and those of `add_user`. Objects are accessed as the administrator.
    `address` is where remote clients reach it, at the same port, by a relay to the loopback: the server advertises this
    address, and its certificate covers it. `flags` are further ones of the server, without their dashes.
    """

    def __init__(
        self,
        assets: Path | None = None,
        *,
        control_plane: bool = False,
        address: str = "",
        flags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        binaries = CONTROL_PLANE if control_plane else BINARIES
        found = assets or find_assets(binaries)
        if found is None:
            raise FileNotFoundError(f"{', '.join(binaries)} are not there: run tests/tools/kube-assets.sh")
        self._assets = found
        self._control_plane = control_plane
        self._address, self._flags = address, flags
        self._folder = Path(tempfile.mkdtemp(prefix="cloudroute-kube-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._etcd_url = ""
        self._tokens = dict(TOKENS)
        self._identities = dict(_USERS)
        port, *self._more_ports = _free_ports(5)
        super().__init__(f"https://127.0.0.1:{port}", TOKENS["admin"], self.ca_file)

    @property
    def token(self) -> str:
        """The administrator's token."""
        return TOKENS["admin"]

    @property
    def ca_file(self) -> Path:
        """Certificate file that verifies the server."""
        return self._folder / "apiserver.crt"

    def add_user(self, identity: str) -> None:
        """Add a user with a token: `system:node:NAME`, `system:serviceaccount:NAMESPACE:NAME` or any other name.

        The groups are those that Kubernetes itself would assign to such a name. The server reads its tokens at start
        only.
        """
        self._tokens[identity] = f"{identity.replace(':', '-')}-token"
        self._identities[identity] = identity

    def token_of(self, user: str) -> str:
        """Return the user's token."""
        return self._tokens[user]

    def kubeconfig(self, path: Path | None = None, user: str = "admin") -> Path:
        """Write a kubeconfig for `user`, beside the server's data when no path is given."""
        path = path or self._folder / f"kubeconfig-{user}"
        return write_kubeconfig(self.url, self.token_of(user), self.ca_file, user, path)

    def kubeconfig_from_afar(self, path: Path, user: str) -> Path:
        """Write a kubeconfig for a client that can't reach the loopback: with `address`."""
        url = self.url.replace("127.0.0.1", self._address)
        return write_kubeconfig(url, self.token_of(user), self.ca_file, user, path)

    def start(self) -> None:
        """Start everything. Raises RuntimeError, with the ends of the logs, when a process does not become ready."""
        try:
            self._start_etcd()
            self.start_server()
            if self._control_plane:
                self._start_controller_manager()
                self._start_scheduler()
        except BaseException:
            self.close()
            raise

    def stop_server(self) -> None:
        """End the API server only: clients can't connect, and stored objects stay."""
        self.disconnect()
        self._end("kube-apiserver")

    def start_server(self) -> None:
        """Start the API server again, with the same port and certificate, and with all tokens, later ones included."""
        tokens = self._folder / "tokens.csv"
        tokens.write_text("".join(map(self._token_line, self._tokens)))
        # The key of the certificate that the server makes for itself: it also signs ServiceAccount tokens.
        key = self._folder / "apiserver.key"
        flags = {
            "etcd-servers": self._etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": self.url.rpartition(":")[2],
            "cert-dir": self._folder,
            "token-auth-file": tokens,
            "authorization-mode": "Node,RBAC" if self._control_plane else "RBAC",
            "anonymous-auth": "false",
            "service-cluster-ip-range": "10.96.0.0/16,fd00:96::/112",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            # Without its watch cache the server has no history but etcd's, so `compact` takes effect.
            "watch-cache-sizes": "configmaps#0",
        }
        if self._address:
            flags["advertise-address"] = self._address
        if self._control_plane:
            flags |= {"allow-privileged": "true", "enable-admission-plugins": "NodeRestriction"}
        else:
            # No controller manager creates the ServiceAccounts that this plugin requires of each pod.
            flags["disable-admission-plugins"] = "ServiceAccount"
        self._run("kube-apiserver", {**flags, **self._flags}, self._is_ready)

    def compact(self) -> None:
        """Compact etcd up to now: watches and lists of ConfigMaps can't resume from earlier versions."""
        with urllib3.PoolManager(timeout=10) as http:
            version = self.request("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
            http.request("POST", f"{self._etcd_url}/v3/kv/compaction", json={"revision": version, "physical": True})

    def close(self) -> None:
        """End all processes, in reverse order of start."""
        self.disconnect()
        for name in reversed(list(self._processes)):
            self._end(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _token_line(self, user: str) -> str:
        """Return a line of the token file: token, name, uid and groups."""
        identity = self._identities[user]
        groups = "system:masters" if user == "admin" else ",".join(_groups(identity))
        return f'{self._tokens[user]},{identity},{identity},"{groups}"\n'

    def _start_etcd(self) -> None:
        self._etcd_url, peer = (f"http://127.0.0.1:{self._more_ports.pop()}" for _ in range(2))
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

    def _start_controller_manager(self) -> None:
        # cloudroute itself manages pod CIDRs and routes.
        flags = {"controllers": "*,-node-ipam-controller,-node-route-controller", "root-ca-file": self.ca_file}
        self._start_component("kube-controller-manager", flags)

    def _start_scheduler(self) -> None:
        self._start_component("kube-scheduler", {})

    def _start_component(self, name: str, more: dict[str, Any]) -> None:
        """Start a client of the server, with an HTTPS health check under the server's own certificate."""
        port = self._more_ports.pop()
        flags = {
            "kubeconfig": self.kubeconfig(),
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "tls-cert-file": self.ca_file,
            "tls-private-key-file": self._folder / "apiserver.key",
        }
        self._run(name, flags | more, lambda: _answers(f"https://127.0.0.1:{port}/healthz", "", str(self.ca_file)))

    def _is_ready(self) -> bool:
        return self.ca_file.exists() and _answers(f"{self.url}/readyz", self.token, str(self.ca_file))

    def _run(self, name: str, flags: dict[str, Any], ready: Callable[[], bool]) -> None:
        log = self._folder / f"{name}.log"
        with log.open("ab") as output:
            command = [str(self._assets / name), *(f"--{flag}={value}" for flag, value in flags.items())]
            process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - our own arguments and paths
        self._processes[name] = process
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                end = f"ended with {process.returncode}" if process.returncode is not None else "is not ready"
                raise RuntimeError(f"{name} {end}:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def _end(self, name: str) -> None:
        """Kill it: on SIGTERM the server would wait for its watches to end, and etcd has persisted all writes."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()


def _groups(identity: str) -> list[str]:
    """Return the groups that Kubernetes' own authenticators add to a name."""
    if identity.startswith(NODE_USER):
        return ["system:nodes"]
    if identity.startswith(_ACCOUNT):
        namespace = identity.removeprefix(_ACCOUNT).partition(":")[0]
        return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return []


def _answers(url: str, token: str = "", ca_file: str | None = None) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError), urllib3.PoolManager(ca_certs=ca_file) as http:
        return http.request("GET", url, headers=headers, retries=False, timeout=2).status == 200
    return False


def _free_ports(count: int) -> list[int]:
    """Return this many distinct ports: each is held until all are chosen."""
    first = os.getpid() * _PORTS_OF_A_PROCESS % len(_PORTS)
    own = _PORTS[first : first + _PORTS_OF_A_PROCESS]
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", random.choice(own)))
                ports.append(listener.getsockname()[1])
        return ports
