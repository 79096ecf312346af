"""The demo, run to its end as a command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cloudroute.lab.demo.screen import Picture


def test_a_line_of_the_demo_is_one_line() -> None:
    """Untrusted text in its lines is escaped: it controls no terminal and adds no line."""
    picture = Picture()
    picture.tell("a\n\x1b[2Jb")
    assert picture.told == [r"a\n\x1b[2Jb"]


def test_the_demo_ends_well_and_is_recorded(tmp_path: Path) -> None:
    """All phases end in the expected state, each figure is printed, and the picture loads nothing from the network."""
    picture = tmp_path / "demo.svg"
    command = [sys.executable, "-m", "cloudroute", "demo", "--record", str(picture)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert played.returncode == 0, played.stdout + played.stderr
    # 114 nodes are left: 6,441 pairs, each with one path.
    assert re.search(r"6441 \(\d+ overlay, \d+ direct, \d+ native\)", played.stdout)
    assert "untouched" in played.stdout
    highest = re.search(r"entries a table ever held, limit 50 +(\d+), (\d+), (\d+)", played.stdout)
    assert highest
    assert all(48 <= int(entries) <= 50 for entries in highest.groups())
    image = picture.read_text(encoding="utf-8")
    assert image.startswith("<svg")
    assert "url(" not in image.replace("url(#", "")


def test_a_picture_that_cannot_be_saved_is_refused_with_a_reason() -> None:
    """A path that does not end in .svg is bad usage: the demo does not start."""
    command = [sys.executable, "-m", "cloudroute", "demo", "--record", "demo.png"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "--record demo.png" in refused.stderr
    assert ".svg" in refused.stderr
