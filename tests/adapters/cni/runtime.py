"""The CNI part of a container runtime: runs the real plugins, one by one, for pods that are namespaces.

host-local keeps its leases below /var/lib/cni: each plugin runs in a mount namespace of its own, with a directory of
the test as /var/lib.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cloudroute.adapters.cni import find_plugins
from tests.hosts import Namespace


class Refused(Exception):
    """A plugin failed; the text is its message."""


class Runtime:
    """The runtime of one node: `node` is its network namespace; a pod is identified by its own namespace."""

    def __init__(self, node: Namespace, content: bytes, state: Path) -> None:
        self._node = node
        self._config: dict[str, Any] = json.loads(content)
        self._state = state

    @property
    def leases(self) -> set[str]:
        """The addresses that host-local has given out."""
        return {path.name for path in self._state.glob("cni/networks/cloudroute/[0-9a-f]*[.:]*")}

    def add(self, pod: Namespace, **arguments: object) -> dict[str, Any]:
        """Connect a pod and return the result. `arguments`: those of capabilities, as portMappings."""
        result: dict[str, Any] = {}
        for plugin in self._config["plugins"]:
            result = json.loads(self._run("ADD", pod, plugin, arguments, {"prevResult": result} if result else {}))
        return result

    def delete(self, pod: Namespace, **arguments: object) -> None:
        """Undo `add`; a repeated call does nothing."""
        for plugin in reversed(self._config["plugins"]):
            self._run("DEL", pod, plugin, arguments, {})

    def _run(
        self,
        command: str,
        pod: Namespace,
        plugin: dict[str, Any],
        arguments: dict[str, object],
        more: dict[str, object],
    ) -> str:
        config = {**plugin, "cniVersion": self._config["cniVersion"], "name": self._config["name"], **more}
        capabilities = config.pop("capabilities", {})
        config["runtimeConfig"] = {name: value for name, value in arguments.items() if capabilities.get(name)}
        directories = os.pathsep.join(find_plugins()[1])
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": str(pod.path),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": directories,
            "PATH": os.defpath + ":/usr/sbin:/sbin",  # portmap calls iptables
        }
        ended = subprocess.run(
            [
                *("nsenter", f"--net={self._node.path}", "unshare", "--mount"),
                *("sh", "-c", 'mount --bind "$0" /var/lib && exec "$1"', str(self._state)),
                shutil.which(plugin["type"], path=directories) or "no such plugin",
            ],
            input=json.dumps(config),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise Refused(f"{command} {plugin['type']}: {ended.stdout}{ended.stderr}")
        return ended.stdout
