"""Real nodes: containerd, runc and a kubelet inside a host's network namespace.

    KubeletHost ─▶ nsenter ─▶ unshare ─▶ kubelet.sh, process 1 of the machine
                                         ├── containerd ─▶ a shim and runc per pod ─▶ the pod's processes
                                         └── kubelet

The machine has its own PID and mount namespaces and hostname besides the network namespace. When its process 1 ends,
all its processes, mounts and pods' network namespaces are gone. Process 1 ends when the pipe to it closes: when the
host is stopped, or when the process that started it has ended for any reason. Only cgroups and folders can remain:
`sweep` finds them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts import cgroups
from cloudroute.lab.hosts.image_store import ImageStore
from cloudroute.lab.hosts.images import find_busybox
from cloudroute.lab.hosts.kubelet_config import CNI_BIN, OWN_CNI, containerd_toml, kubelet_json
from cloudroute.lab.kube.real import find_assets

SCRIPT = Path(__file__).with_name("kubelet.sh")
STOP_SECONDS = 20.0
"""Time for the daemons to end by themselves; then they are killed."""
_RECORDS = Path("/run/cloudroute-kubelets")
"""A link per host, named as its network namespace, to its folder; `sweep` reads them."""
_PROGRAMS = {"containerd": "containerd", "ctr": "containerd", "runc": "runc", "nsenter": "util-linux", "ip": "iproute2"}


def missing() -> list[str]:
    """Return the requirements of a KubeletHost that this machine lacks, one sentence each, with how to install it."""
    packages = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if not (CNI_BIN / "ptp").exists():
        packages.add("containernetworking-plugins")
    if find_busybox() is None:
        packages.add("busybox-static")
    said = [f"install the packages {', '.join(sorted(packages))}"] if packages else []
    if os.geteuid() != 0:
        said.append("be root")
    if find_assets(["kubelet"]) is None:
        said.append("build the kubelet with tests/tools/kube-assets.sh")
    return said


class KubeletHost:
    """A node. `folder` holds its state and logs, is the host's alone, and outlives it as a disk does.

    `namespace` is an existing network namespace that has `node_ips`; `kubeconfig` is the kubelet's, with a server that
    it reaches from there; containerd takes its network from `cni_conf_dir`, written by any process; `images` are
    what its containerd has from the start. /run, /var/lib and /var/log are the host's own; of the machine's it
    sees only the paths above. Without a `cni_conf_dir` it uses OWN_CNI, which starts without plugins and configuration,
    as on an unprepared node; from outside that is `own_cni`. `settings` are those of the kubelet's configuration file;
    the files that they name are in `folder`.
    """

    def __init__(
        self,
        namespace: str,
        node_name: str,
        node_ips: Sequence[str],
        provider_id: str,
        kubeconfig: Path,
        folder: Path,
        cni_conf_dir: Path | None,
        images: ImageStore,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        assets = find_assets(["kubelet"])
        if assets is None:
            raise CloudrouteError("there is no kubelet: run tests/tools/kube-assets.sh")
        self.namespace = namespace
        self.node_name = node_name
        self.folder = folder.resolve()
        self._node_ips = tuple(node_ips)
        self._provider_id = provider_id
        self._kubeconfig = kubeconfig.resolve()
        self._cni_conf_dir = cni_conf_dir.resolve() if cni_conf_dir else None
        self._images = images
        self._settings = settings
        self._kubelet = (assets / "kubelet").resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether containerd and the kubelet serve. Raises CloudrouteError, with their output, when they have ended."""
        if self._process is None:
            return False
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace") if self._log.exists() else f"{self._log} is gone"
            raise CloudrouteError(f"the kubelet of {self.node_name} ended: {said}")
        return self._socket.exists()

    @property
    def pids(self) -> tuple[int, ...]:
        """Processes of the machine and its pods, parents before their children; () when it is not running."""
        return tuple(_descendants(self._process.pid))[1:] if self._process else ()

    def start(self) -> None:
        """Start it and return; it is up when `ready`. State in `folder` is kept, as after a reboot."""
        if self._process is not None:
            raise CloudrouteError(f"the kubelet of {self.node_name} has been started")
        for folder in (self.folder, self._cni_conf_dir or self.own_cni / "net.d", _RECORDS):
            folder.mkdir(parents=True, exist_ok=True)
        record = _RECORDS / self.namespace
        record.unlink(missing_ok=True)
        record.symlink_to(self.folder)
        self._socket.unlink(missing_ok=True)
        cgroups.make(self.namespace)
        snapshotter = _snapshotter(self.folder)
        self._images.fill(self.folder / "lib" / "containerd", snapshotter)
        (self.folder / "containerd.toml").write_text(containerd_toml(self._cni_conf_dir, snapshotter))
        (self.folder / "kubelet.json").write_text(kubelet_json(self._provider_id, self.namespace, self._settings))
        with self._log.open("wb") as log:
            # A session of its own: otherwise Ctrl-C would end it before its owner stops it in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments and paths
                self._command(), stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """Shut it down. Only `folder` remains."""
        if self._process is None:
            return
        self._hang_up()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End everything at once, as a power failure does; `folder` stays as it is at that moment."""
        if self._process is None:
            return
        # Process 1 ends only after all others of its namespace, and its parent after it.
        for pid in self.pids[:1] or [self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._hang_up()
        self._process.wait()
        self._forget()

    def pod_pid(self, name: str, namespace: str = "default") -> int:
        """Return a process of the pod: `nsenter --net --target PID` runs a command in the pod's network."""
        pids = self.pids
        wanted = {"io.kubernetes.cri.sandbox-name": name, "io.kubernetes.cri.sandbox-namespace": namespace}
        tasks = Path(f"/proc/{pids[0]}/root/run/containerd/io.containerd.runtime.v2.task/k8s.io") if pids else Path()
        for bundle in tasks.glob("*/config.json"):
            try:
                annotations = json.loads(bundle.read_text()).get("annotations", {})
            except (OSError, ValueError):  # it is being created or removed: that pod does not run
                continue
            if wanted.items() <= annotations.items():
                for pid in pids:
                    if cgroups.holds(bundle.parent.name, pid):
                        return pid
        raise CloudrouteError(f"the pod {namespace}/{name} does not run on {self.node_name}")

    @property
    def own_cni(self) -> Path:
        """The host's OWN_CNI, as a path of this machine."""
        return self.folder / "lib" / OWN_CNI.relative_to("/var/lib")

    @property
    def _log(self) -> Path:
        return self.folder / "host.log"

    @property
    def _socket(self) -> Path:
        """Path of a socket that a kubelet creates when it serves."""
        return self.folder / "lib/kubelet/pod-resources/kubelet.sock"

    def _hang_up(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()

    def _forget(self) -> None:
        self._process = None
        cgroups.remove(self.namespace)
        (_RECORDS / self.namespace).unlink(missing_ok=True)

    def _command(self) -> list[str]:
        # `ip netns exec` would hide the cgroups.
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        enter += ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        kubelet = [
            str(self._kubelet),
            f"--config={self.folder / 'kubelet.json'}",
            f"--kubeconfig={self._kubeconfig}",
            f"--hostname-override={self.node_name}",
            f"--node-ip={','.join(self._node_ips)}",
        ]
        kept = [self._kubelet, self._kubeconfig, *([self._cni_conf_dir] if self._cni_conf_dir else [])]
        host = [self.namespace, self.node_name, str(self.folder), *map(str, kept)]
        return [*enter, "bash", str(SCRIPT), *host, "--", *kubelet]


def sweep(prefix: str) -> list[str]:
    """Remove the remains of crashed labs' hosts whose network namespaces begin with `prefix`, folders included.

    Returns the names of those namespaces. The caller removes the namespaces themselves.
    """
    if not prefix:
        raise CloudrouteError("sweep needs a prefix: without one it would remove everybody's hosts")
    running = dict(_running(prefix))
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    records = {path.name for path in _RECORDS.glob(f"{prefix}*")}
    found = sorted({*running.values(), *cgroups.find(prefix), *records})
    for name in found:
        cgroups.remove(name)
        record = _RECORDS / name
        if record.is_symlink():
            shutil.rmtree(record.resolve(), ignore_errors=True)
            record.unlink()
    return found


def _snapshotter(folder: Path) -> str:
    """Return how containerd keeps containers' files: as layers where the folder's file system can be one, else copied.

    A copy takes a second or two of a core for each container of our image, and its 150 MB.
    """
    with tempfile.TemporaryDirectory(dir=folder) as found:
        places = [Path(found, name) for name in ("lower", "upper", "work", "merged")]
        for place in places:
            place.mkdir()
        lower, upper, work, merged = places
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        # The mount ends with its namespace.
        command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        tried = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own words
        return "native" if tried.returncode else "overlayfs"


def _running(prefix: str) -> Iterator[tuple[int, str]]:
    """Return the first processes of hosts, with their namespaces' names."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if str(SCRIPT) in words[:-1]:
                name = words[words.index(str(SCRIPT)) + 1]
                if name.startswith(prefix):
                    yield int(entry.parent.name), name


def _descendants(pid: int) -> Iterator[int]:
    """Return the process and all its descendants, parents first."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _descendants(int(child))
