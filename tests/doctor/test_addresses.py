"""The number of pods that a pod CIDR holds, as the real host-local gives addresses out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cloudroute.adapters.cni import find_plugins
from cloudroute.core.explain.doctor.cluster import usable_addresses
from cloudroute.types import Cidr
from tests.required import lacking


def host_local() -> str:
    """Path of Debian's host-local plugin."""
    _, folders = find_plugins()
    for path in (Path(folder, "host-local") for folder in folders):
        if path.exists():
            return str(path)
    return lacking("cni")


@pytest.mark.parametrize("cidr", ["10.244.7.0/28", "10.244.7.0/30", "fd00:1::/125"])
def test_as_many_as_host_local_gives(cidr: str, tmp_path: Path) -> None:
    """It leaves out the network's own address, the gateway's and, of IPv4, the broadcast address."""
    plugin, ipam = host_local(), {"type": "host-local", "ranges": [[{"subnet": cidr}]], "dataDir": str(tmp_path)}
    network = json.dumps({"cniVersion": "0.4.0", "name": "cloudroute", "type": "ptp", "ipam": ipam})
    given = 0
    while True:
        pod = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": f"pod{given}", "CNI_IFNAME": "eth0", "CNI_PATH": "/"}
        done = subprocess.run((plugin,), input=network, env={**pod, "CNI_NETNS": "/"}, capture_output=True, text=True)
        if done.returncode:
            break
        given += 1
    assert "no IP addresses available" in done.stdout
    assert given == usable_addresses(Cidr.parse(cidr))
