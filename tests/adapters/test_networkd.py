"""Precedence of networkd's configuration files, as in networkd.conf(5)."""

from __future__ import annotations

import os
from pathlib import Path

from cloudroute.adapters.networkd import look
from cloudroute.core.explain.doctor.facts import Networkd
from cloudroute.core.explain.doctor.findings import Unknown


def process(proc: Path, comm: str) -> Path:
    """A process 7 of this name, in our network namespace; its root folder."""
    for folder in ("thread-self/ns", "7/ns", "7/root", "1"):
        (proc / folder).mkdir(parents=True)
    (proc / "thread-self/ns/net").touch()
    os.link(proc / "thread-self/ns/net", proc / "7/ns/net")
    (proc / "7/comm").write_text(f"{comm}\n")
    (proc / "1/comm").write_text("systemd\n")
    (proc / "7/exe").write_text("#!/bin/sh\necho 'systemd 257 (257.13-1)'\n")
    (proc / "7/exe").chmod(0o755)
    return proc / "7/root"


def write(root: Path, name: str, *settings: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(("[Network]", *settings, "[DHCPv4]", "ManageForeignRoutes=no", "")))


def test_a_drop_in_overrides_and_hides_and_a_comment_says_nothing(tmp_path: Path) -> None:
    root = process(tmp_path, "systemd-network")
    write(root, "etc/systemd/networkd.conf", "SpeedMeter=no", "#ManageForeignNextHops=no")
    write(root, "usr/lib/systemd/networkd.conf", "ManageForeignNextHops=no")
    write(root, "usr/lib/systemd/networkd.conf.d/10-first.conf", "ManageForeignRoutes=yes", "SpeedMeter=yes")
    write(root, "etc/systemd/networkd.conf.d/20-second.conf", "ManageForeignRoutes = false")
    write(root, "run/systemd/networkd.conf.d/20-second.conf", "ManageForeignRoutes=yes")
    assert look(tmp_path) == Networkd(257, frozenset({"ManageForeignRoutes"}))


def test_none_at_work_and_none_to_be_seen(tmp_path: Path) -> None:
    process(tmp_path, "systemd-resolve")
    assert look(tmp_path) is None
    (tmp_path / "1/comm").write_text("python3\n")
    assert isinstance(look(tmp_path), Unknown)
