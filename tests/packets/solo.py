"""One host and an API server whose NodeRoutes a test writes: for what an agent does on its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from cloudroute.crds import manifests
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.kube import KubeApi
from tests.waiting import eventually

_ETH0 = """
ip link add eth0 mtu 9001 type veth peer name vpc0; ip link set vpc0 up
ip addr add 10.0.0.1/20 dev eth0; ip addr add fd01::1/64 dev eth0 nodad; ip link set eth0 up
ip route add default via 10.0.0.254; ip -6 route add default via fe80::1 dev eth0
"""
POOLS = ("--cluster-cidr", "100.64.0.0/16", "--cluster-cidr", "fd00:64::/48")


def node_route(number: int, **spec: Any) -> dict[str, Any]:
    """NodeRoute n<number>, by default of another subnet and table, reached by the overlay."""
    return {
        "apiVersion": "cloudroute.io/v1alpha1",
        "kind": "NodeRoute",
        "metadata": {"name": f"n{number}"},
        "spec": {
            "podCIDRs": [f"100.64.{number}.0/24", f"fd00:64:0:0:{number:x}::/80"],
            "nodeIPs": [f"10.0.0.{number}", f"fd01::{number:x}"],
            "instanceID": f"i-{number:08x}",
            "networkInterfaceID": f"eni-{number:08x}",
            "subnetID": "",
            "routeTableID": f"rtb-{number:08x}",
            "nativeIn": [],
            **spec,
        },
    }


class Solo:
    """The host of n1. `agent` runs one there; `wait` waits for a condition, and says what the agent said."""

    def __init__(self, namespace: Namespace, kube: KubeApi, kubeconfig: Path, folder: Path) -> None:
        self.namespace, self.kube = namespace, kube
        self.conf_dir, self.log = folder / "net.d", folder / "agent.log"
        self._kubeconfig = kubeconfig

    def command(self, *flags: str) -> list[str]:
        """The words that run an agent."""
        own = ("--node-name", "n1", "--kubeconfig", str(self._kubeconfig), "--listen", "127.0.0.1:10256")
        conf = () if "--cni-conf-dir" in flags else ("--cni-conf-dir", str(self.conf_dir))
        return [sys.executable, "-m", "cloudroute", "agent", *own, *conf, *POOLS, *flags]

    def once(self, *flags: str, wrap: Sequence[str] = (), **environment: str) -> tuple[int, str]:
        """`agent --once`: its exit code and what it wrote to stderr."""
        argv = self.namespace.command(*wrap, *self.command(*flags, "--once"))
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60)
        return done.returncode, done.stderr

    @contextmanager
    def agent(self, *flags: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """An agent as long as the block lasts, and SIGTERM then: it must end well."""
        with self.log.open("wb") as log:
            process = self.namespace.popen(
                self.command(*flags), stdout=log, stderr=log, env={**os.environ, **environment}
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)

    def fails(self, reason: str, words: str, *flags: str, **environment: str) -> None:
        """An agent says for this reason, in these words, that it can't, and is well otherwise; asserts that."""
        with self.agent(*flags, **environment):
            self.wait(lambda: self.status().get("reason") == reason)
            assert words in self.status()["message"]
            self.wait(lambda: words in self.log.read_text())
        assert self.status()["ready"] is False
        assert "Traceback" not in self.log.read_text()

    def status(self) -> dict[str, Any]:
        """Of n1's NodeRoute."""
        found: dict[str, Any] = self.kube.get("noderoutes", "n1").get("status") or {}
        return found

    def metric(self, name: str) -> float:
        """A series of the agent's /metrics, with its labels if any."""
        with self.namespace.inside(), urlopen("http://127.0.0.1:10256/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, f"{name} is not in\n{text}"
        return float(found[1])

    def wait(self, until: Callable[[], bool]) -> None:
        eventually(until, "the agent of n1 does its part", 20, lambda: f"{self.status()}\n{self.log.read_text()}")

    @property
    def conflists(self) -> list[str]:
        """Names of the CNI configurations."""
        return sorted(path.name for path in self.conf_dir.glob("*")) if self.conf_dir.exists() else []


@contextmanager
def solo(folder: Path, **spec: Any) -> Iterator[Solo]:
    """A host with eth0, and an API server with the CRDs and n1's NodeRoute, of which `spec` is told."""
    with ExitStack() as end:
        namespace = Namespace(f"crsolo-{os.getpid()}")
        namespace.create()
        end.callback(namespace.delete)
        namespace.run("sh", "-ec", _ETH0)
        kube = KubeApi()
        server = kube.serve()
        end.callback(server.close)
        for crd in manifests():
            kube.create(crd)
        kube.create(node_route(1, **spec))
        relay = Relay(server.port)
        end.callback(relay.close)
        relay.add(namespace)
        yield Solo(namespace, kube, server.kubeconfig(folder / "kubeconfig"), folder)
