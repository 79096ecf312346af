"""Installation of the image's plugins on a node: missing ones come, the node's own stay, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cloudroute.adapters.cni.install import FOLDER, main
from cloudroute.adapters.cni.installed import PLUGINS
from tests.hosts import require_netns


class Node(NamedTuple):
    """Two folders: the image's plugins, and the node's."""

    image: Path
    bin: Path

    def install(self) -> int:
        """The exit code."""
        return main(str(self.image), str(self.bin))

    def bring(self, version: str) -> None:
        """Put that version of the plugins into the image."""
        self.image.mkdir(exist_ok=True)
        for name in PLUGINS:
            (self.image / name).write_text(f"{name} {version}")

    def plugins(self) -> dict[str, str]:
        """Return the plugins that the container runtime can run."""
        paths = [path for path in self.bin.iterdir() if path.is_file()]
        assert all(path.stat().st_mode & 0o777 == 0o755 for path in paths)
        return {path.name: path.read_text() for path in paths}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without plugins and without a folder for them."""
    one = Node(tmp_path / "image", tmp_path / "opt" / "cni" / "bin")
    one.bring("1")
    return one


def whole(version: str) -> dict[str, str]:
    return {name: f"{name} {version}" for name in PLUGINS}


def test_a_bare_node_gets_all_plugins(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Executable, by links into one folder of ours; each is logged once."""
    assert node.install() == 0
    assert node.plugins() == whole("1")
    assert {os.readlink(node.bin / name) for name in PLUGINS} == {f"{FOLDER}/{name}" for name in PLUGINS}
    assert capsys.readouterr().err.splitlines() == [
        f"{node.bin}/{name}: {done}" for name in PLUGINS for done in ("installed", "linked")
    ]


def test_a_plugin_of_the_node_stays(node: Node) -> None:
    """Present programs are kept, of any version, links included; missing ones are installed beside them."""
    theirs = node.bin / "theirs"
    node.bin.mkdir(parents=True)
    for path in (node.bin / "ptp", theirs, node.bin / "aws-cni"):
        path.write_text("the node's")
        path.chmod(0o755)
    (node.bin / "portmap").symlink_to(theirs)
    assert node.install() == 0
    kept = dict.fromkeys(("ptp", "portmap", "theirs", "aws-cni"), "the node's")
    assert node.plugins() == {**whole("1"), **kept}
    node.bring("2")
    assert node.install() == 0
    assert node.plugins() == {**whole("2"), **kept}


def test_a_link_of_the_node_that_leads_nowhere_stays(node: Node) -> None:
    """Its target may be mounted later; until then one plugin is missing, and that is told."""
    node.bin.mkdir(parents=True)
    (node.bin / "ptp").symlink_to("later")
    assert node.install() == 1
    assert os.readlink(node.bin / "ptp") == "later"
    assert not (node.bin / FOLDER / "ptp").exists()


def test_plugins_installed_by_cloudroute_follow_the_image(node: Node) -> None:
    """A new file replaces the old name, so that a runtime that executes the former one goes on."""
    node.install()
    with (node.bin / "ptp").open() as running:
        node.bring("2")
        assert node.install() == 0
        assert running.read() == "ptp 1"
    assert node.plugins() == whole("2")


def test_a_node_that_has_them_is_not_written_to(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is logged, either, and the folder may be read-only."""
    node.install()
    before = {path: path.lstat() for path in node.bin.rglob("*")}
    capsys.readouterr()
    assert node.install() == 0
    unread = ("st_ino", "st_mode", "st_mtime_ns", "st_ctime_ns")
    assert all(getattr(path.lstat(), field) == getattr(before[path], field) for path in before for field in unread)
    assert set(node.bin.rglob("*")) == before.keys()
    assert capsys.readouterr().err == ""


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the link is gone": lambda folder: (folder / "ptp").unlink(),
    "the program is gone": lambda folder: (folder / FOLDER / "ptp").unlink(),
    "the program is no longer executable": lambda folder: (folder / FOLDER / "ptp").chmod(0o644),
    "the program is cut": lambda folder: os.truncate(folder / FOLDER / "ptp", 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_repaired(node: Node, damage: Callable[[Path], object]) -> None:
    """The next pod of the agent repairs it."""
    node.install()
    damage(node.bin)
    assert node.install() == 0
    assert node.plugins() == whole("1")


KILLED = """
import os, sys
from cloudroute.adapters.cni.install import main

def run(steps):
    def kill(event, words):
        nonlocal steps
        if event in ("open", "os.mkdir", "os.rename", "os.symlink", "os.remove") and sys.argv[2] in str(words[0]):
            steps -= 1
            if steps < 0:
                os.kill(os.getpid(), 9)
    sys.addaudithook(kill)
    return main(*sys.argv[1:])

child = os.fork()
if not child:
    os._exit(run(int(sys.argv.pop())))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_at_any_step_it_leaves_no_half_plugin(node: Node, tmp_path: Path) -> None:
    """The runtime finds a complete plugin, the former or the new one; a later run does the rest."""
    ended = ""
    for step in range(200):
        node = Node(node.image, tmp_path / f"bin-{step}")
        node.bring("1")
        node.install()
        (node.bin / "ptp").unlink()
        node.bring("2")
        command = [sys.executable, "-c", KILLED, str(node.image), str(node.bin), str(step)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert node.plugins().items() <= whole("1").items() | whole("2").items()
        assert node.install() == 0
        assert node.plugins() == whole("2")
        assert {path.name for path in (node.bin / FOLDER).iterdir()} == set(PLUGINS)
        if ended == "0":
            break
    assert ended == "0"
    assert step > len(PLUGINS)


def on_a_read_only_file_system(node: Node) -> subprocess.CompletedProcess[str]:
    """Run it where the node's folder can't be written."""
    require_netns()  # what it takes to mount
    command = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro "$0" "$0" && exec "$@"', str(node.bin)]
    command += [sys.executable, "-m", "cloudroute.adapters.cni.install", str(node.image), str(node.bin)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_plugin_that_can_not_be_installed_is_said(node: Node) -> None:
    """Exit code 1, a line of each, and what to do."""
    node.bin.mkdir(parents=True)
    done = on_a_read_only_file_system(node)
    assert done.returncode == 1
    *lines, advice = done.stderr.splitlines()
    for line, name in zip(lines, PLUGINS, strict=True):
        assert line.startswith(f"{node.bin}/{name} can't be installed: [Errno 30] Read-only file system: ")
    assert advice.startswith("mount the folder writable, or ")
    assert list(node.bin.iterdir()) == []


def test_a_plugin_that_can_not_be_renewed_keeps_no_agent_from_starting(node: Node) -> None:
    """It is logged, and the former one stays."""
    node.install()
    node.bring("2")
    done = on_a_read_only_file_system(node)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, len(PLUGINS))
    assert node.plugins() == whole("1")
