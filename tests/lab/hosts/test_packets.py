"""The packet demo, run to its end as a command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cloudroute.lab.hosts.netns import leftovers
from tests.hosts import require_cni, require_netns


def test_no_packet_between_living_pods_is_lost(tmp_path: Path) -> None:
    """Paths change both ways, a host is terminated and an agent killed: each packet is counted, and none is lost."""
    require_netns()
    require_cni()
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
