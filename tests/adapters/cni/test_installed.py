"""Plugins, and configurations and leases of other networks, in the CNI directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudroute.adapters.cni.installed import find_plugins, leases_of_others, shadowing
from cloudroute.dataplane import CONFLIST, packed


def test_configurations_that_come_before_ours_are_named_as_the_runtime_sorts_them(tmp_path: Path) -> None:
    """By the three endings that runtimes take; directories, other files and ours are none."""
    for name in (
        "99-z.conf",
        "05-a.json",
        "10-calico.conflist",
        CONFLIST,
        "10-cloudroute.conf",
        "README",
        "01-b.conf.bak",
    ):
        (tmp_path / name).write_text("not even JSON")
    (tmp_path / "00-dir.conf").mkdir()
    (tmp_path / "06-link.conf").symlink_to("/nowhere")
    assert shadowing(str(tmp_path)) == ["05-a.json", "06-link.conf", "10-calico.conflist", "10-cloudroute.conf"]


def test_a_directory_that_is_not_there_shadows_nothing(tmp_path: Path) -> None:
    """A file in its place does not, either."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert shadowing(str(path)) == []


def test_plugins_are_found_in_any_directory_of_cni_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only plugins that we use and that can be run."""
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first / "ptp", first / "vlan", second / "ptp", second / "host-local", second / "portmap"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(0o755)
    (second / "portmap").chmod(0o644)
    (second / "loopback").mkdir()
    monkeypatch.setenv("CNI_PATH", f"{first}:{tmp_path}/missing::{second}")
    assert find_plugins() == (frozenset({"ptp", "host-local"}), (str(first), f"{tmp_path}/missing", str(second)))


def test_without_cni_path_the_usual_directories_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset or empty."""
    usual = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
    monkeypatch.setenv("CNI_PATH", "")
    assert find_plugins()[1] == usual
    monkeypatch.delenv("CNI_PATH")
    assert find_plugins()[1] == usual


def test_leases_of_other_networks_are_found_until_ours_has_a_folder(tmp_path: Path) -> None:
    """By the files that host-local keeps, of both families."""
    for name in ("cbr0/10.244.3.2", "cbr0/last_reserved_ip.0", "cbr0/lock", "kind/fd00::2", "empty/lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert leases_of_others(str(tmp_path)) == {"cbr0": {packed("10.244.3.2")}, "kind": {packed("fd00::2")}}
    (tmp_path / "cloudroute").mkdir()
    assert leases_of_others(str(tmp_path)) == {}
    assert leases_of_others(str(tmp_path / "nowhere")) == {}
