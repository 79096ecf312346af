"""CNI as a container runtime uses it: find the configuration, and run its chain of real plugins for each pod.

By CNI's specification (1.0.0, sections 3 and 4): the first file by name is used; each plugin receives the result of the
one before it; DEL runs in reverse order and receives the final result of ADD. As in containerd, DEL uses the
configuration of that moment, not that of ADD (containerd/go-cni, cni.go, Remove).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.netns import Namespace

PLUGIN_FOLDERS = ("/opt/cni/bin", "/usr/lib/cni")
"""Plugin folders searched besides $CNI_PATH: upstream's, Debian's."""
INTERFACE = "eth0"
PLUGIN_SECONDS = 20.0


def find_plugins() -> Path | None:
    """Return the folder with the plugins of a node's chain, or None."""
    folders = [*os.environ.get("CNI_PATH", "").split(":"), *PLUGIN_FOLDERS]
    needed = ("ptp", "host-local", "portmap")
    return next((Path(f) for f in folders if f and all(os.access(Path(f, name), os.X_OK) for name in needed)), None)


def find_conflist(folder: Path) -> Path | None:
    """Return the configuration that a runtime would use: the first by name, or None."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".conflist")
    except FileNotFoundError:
        return None
    return folder / names[0] if names else None


@dataclass(frozen=True)
class Attachment:
    """A pod's network: the arguments of ADD that DEL needs. `result` is the last plugin's."""

    container_id: str
    pod: Namespace
    conflist: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's addresses, without prefix lengths."""
        return tuple(ip["address"].partition("/")[0] for ip in self.result["ips"])


class Runtime:
    """The runtime of one host: the plugins' state is under `var_lib`, the host's own /var/lib."""

    def __init__(self, host: Namespace, conf_dir: Path, var_lib: Path) -> None:
        self._host, self._conf_dir = host, conf_dir
        self.var_lib = var_lib
        (var_lib / "cni").mkdir(parents=True, exist_ok=True)

    @property
    def ready(self) -> bool:
        """Whether there is a configuration; a kubelet then reports NetworkReady."""
        return find_conflist(self._conf_dir) is not None

    def add(self, pod: Namespace) -> Attachment:
        """Add a pod to the network. Raises CloudrouteError with a plugin's message, after undoing the ADD."""
        conflist = self._conflist()
        container_id, result = f"lab-{uuid.uuid4().hex}", None
        for plugin in conflist["plugins"]:
            try:
                said = self._call("ADD", Attachment(container_id, pod, conflist, result or {}), plugin)
            except CloudrouteError:
                self.delete(Attachment(container_id, pod, conflist, result or {}))
                raise
            result = json.loads(said)
        return Attachment(container_id, pod, conflist, result or {})

    def delete(self, attachment: Attachment) -> None:
        """Remove a pod from the network. All plugins run, even after errors; raises CloudrouteError for the first."""
        failures = []
        present = find_conflist(self._conf_dir) is not None
        now = replace(attachment, conflist=self._conflist()) if present else attachment
        for plugin in reversed(now.conflist["plugins"]):
            try:
                self._call("DEL", now, plugin)
            except CloudrouteError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _conflist(self) -> Mapping[str, Any]:
        path = find_conflist(self._conf_dir)
        if path is None:
            raise CloudrouteError(f"there is no CNI configuration in {self._conf_dir}: does the agent run?")
        try:
            content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            _ = (content["cniVersion"], content["name"], [plugin["type"] for plugin in content["plugins"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CloudrouteError(f"{path} is no CNI configuration: {error!r}") from error
        return content

    def _call(self, command: str, attachment: Attachment, plugin: Mapping[str, Any]) -> str:
        folder = find_plugins()
        if folder is None:
            raise CloudrouteError("the CNI plugins are missing: install containernetworking-plugins, or set CNI_PATH")
        conflist = attachment.conflist
        config = {**plugin, "cniVersion": conflist["cniVersion"], "name": conflist["name"]}
        if attachment.result:
            config["prevResult"] = attachment.result
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": str(attachment.pod.path),
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": str(folder),
            "PATH": os.environ.get("PATH", ""),
        }
        environment = [f"{name}={value}" for name, value in variables.items()]
        # `ip netns exec` has made the mounts private: host-local sees the leases of this host only.
        script = 'mount --bind "$0" /var/lib && exec env -i "$@"'
        argv = ["sh", "-c", script, str(self.var_lib), *environment, str(folder / plugin["type"])]
        return self._host.run(*argv, stdin=json.dumps(config), timeout=PLUGIN_SECONDS)
