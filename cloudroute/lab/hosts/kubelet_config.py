"""The configuration of containerd and the kubelet on a node of the lab; all paths not set here are their defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cloudroute.lab.hosts.images import PAUSE

CNI_BIN = Path("/usr/lib/cni")
"""Plugin folder of Debian's CNI package."""
OWN_CNI = Path("/var/lib/cni-own")
"""CNI folder of a host that shares none with the machine: plugins in `bin`, their configuration in `net.d`."""

DISABLED_PLUGINS = [
    "io.containerd.internal.v1.opt",  # it would make /opt/containerd
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")),  # they can't work here
]
"""Of containerd."""


def containerd_toml(cni_conf_dir: Path | None, snapshotter: str) -> str:
    """Return the configuration for containerd 1.6 and newer; with OWN_CNI where there is no `cni_conf_dir`."""
    cni_bin_dir = CNI_BIN if cni_conf_dir else OWN_CNI / "bin"
    return f"""\
version = 2
disabled_plugins = {DISABLED_PLUGINS}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
disable_apparmor = true # its profile would be loaded for the whole kernel
restrict_oom_score_adj = true # runc fails at lowering it where CAP_SYS_RESOURCE is missing

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_bin_dir}"
conf_dir = "{cni_conf_dir or OWN_CNI / "net.d"}"
"""


def kubelet_json(provider_id: str, cgroup: str, settings: Mapping[str, object]) -> str:
    """Return the configuration for Kubernetes 1.34. `cgroup`, right below the root, is to hold the pods.

    `settings` are more of it, or others.
    """
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "providerID": provider_id,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",  # the default is below /usr
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # Disk usage of the lab's machine must evict no pod and collect no image.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        # A kubelet reports Ready at once when it becomes true, but a loss of Ready at this interval.
        "nodeStatusUpdateFrequency": "2s",
        **settings,
    }
    return json.dumps(configuration, indent=2)
