"""The demo of packets, played to its end as people do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cloudroute.lab.hosts.cni import find_plugins
from cloudroute.lab.hosts.netns import leftovers
from tests.hosts import require_netns
from tests.required import lacking


def test_no_packet_between_living_pods_is_lost(tmp_path: Path) -> None:
    """Paths change in both directions, a host dies, an agent is killed: each packet is counted, and none is missing."""
    require_netns()
    if find_plugins() is None:
        lacking("cni", "install containernetworking-plugins, or set CNI_PATH")
    picture = tmp_path / "demo.svg"
    command = [sys.executable, "-m", "cloudroute", "demo", "--packets", "--record", str(picture)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert played.returncode == 0, played.stdout + played.stderr
    sent = re.search(r"packets sent between living pods +([\d,]+) \(.*\d overlay", played.stdout)
    assert sent, played.stdout
    assert int(sent[1].replace(",", "")) > 10_000
    assert re.search(r"of them lost +0\n", re.sub(r" +\n", "\n", played.stdout)), played.stdout
    assert "url(" not in picture.read_text(encoding="utf-8").replace("url(#", "")
    assert leftovers("cr-demo-") == []
