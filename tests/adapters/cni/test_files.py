"""Our configuration in the CNI directory: complete or absent; changes by others are reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudroute.adapters.cni.files import Files
from cloudroute.dataplane import CONFLIST
from tests.hosts import require_netns

CONTENT = b'{"name": "cloudroute"}\n'


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    """Path of a CNI directory that does not exist yet."""
    return tmp_path / "etc" / "cni" / "net.d"


def put(conf_dir: Path, content: bytes = CONTENT) -> dict[str, str]:
    return Files(str(conf_dir)).write({str(conf_dir / CONFLIST): content}, ())


def test_a_file_is_written_readable_for_all_and_its_directory_made(conf_dir: Path) -> None:
    """The directory of a fresh node is made, and nothing but the file is in it."""
    assert put(conf_dir) == {}
    assert [path.name for path in conf_dir.iterdir()] == [CONFLIST]
    assert (conf_dir / CONFLIST).read_bytes() == CONTENT
    assert (conf_dir / CONFLIST).stat().st_mode & 0o777 == 0o644


def test_a_file_is_on_the_disk_before_it_has_its_name(conf_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash of the machine a file that was renamed earlier may be empty."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        order.append("fsync")
        fsync(descriptor)

    def renamed(source: str, target: str) -> None:
        order.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    assert put(conf_dir) == {}
    assert order == ["fsync", "rename"]


def test_a_change_while_a_file_is_read_is_seen(conf_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the read itself, or by the next look at the file."""
    assert put(conf_dir) == {}
    files, ours, stat = Files(str(conf_dir)), conf_dir / CONFLIST, os.stat

    def late(path: str) -> os.stat_result:
        monkeypatch.undo()
        ours.write_bytes(b"another program's")
        return stat(path)

    monkeypatch.setattr(os, "stat", late)
    assert files.read(()) == {str(ours): b"another program's"} or files.altered()


def test_ours_is_read_though_it_is_not_wanted(conf_dir: Path) -> None:
    """A process that has not written it must be able to remove it."""
    put(conf_dir)
    (conf_dir / "99-other.conf").write_text("{}")
    assert Files(str(conf_dir)).read(()) == {str(conf_dir / CONFLIST): CONTENT}


def test_missing_files_are_left_out(conf_dir: Path) -> None:
    """No directory, no file: nothing is read, and nothing raised."""
    assert Files(str(conf_dir)).read([str(conf_dir / CONFLIST), str(conf_dir / "x")]) == {}


def test_a_file_is_dropped_once_and_again(conf_dir: Path) -> None:
    """A file that is gone, even with its directory, is no failure; files of others stay."""
    put(conf_dir)
    (conf_dir / "99-other.conf").write_text("{}")
    files, key = Files(str(conf_dir)), str(conf_dir / CONFLIST)
    assert files.write({}, [key]) == {}
    assert files.write({}, [key]) == {}
    assert [path.name for path in conf_dir.iterdir()] == ["99-other.conf"]
    shutil.rmtree(conf_dir)
    assert files.write({}, [key]) == {}


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a link to nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": lambda path: os.mkfifo(path),
    "an empty file": lambda path: path.write_bytes(b""),
    "a file of another's": lambda path: path.write_bytes(b"\xff\0{" * 1000),
    "a huge file": make_huge,
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES)
def test_any_file_in_our_place_is_replaced(conf_dir: Path, obstacle: Callable[[Path], object]) -> None:
    """A link is replaced itself, not what it points to; reading waits for nobody and fills no memory."""
    conf_dir.mkdir(parents=True)
    obstacle(conf_dir / CONFLIST)
    files, key = Files(str(conf_dir)), str(conf_dir / CONFLIST)
    assert files.read([key]).get(key) != CONTENT
    assert files.write({key: CONTENT}, ()) == {}
    assert files.read([key]) == {key: CONTENT}
    assert not (conf_dir / CONFLIST).is_symlink()
    assert [path.name for path in conf_dir.iterdir()] == [CONFLIST]


# --- failures, in words ---------------------------------------------------------------------------


def test_a_directory_in_our_place_is_said_and_nothing_left_behind(conf_dir: Path) -> None:
    """It may hold something: it is not removed, and no temporary file stays."""
    (conf_dir / CONFLIST / "inside").mkdir(parents=True)
    (words,) = put(conf_dir).values()
    assert words == f"{conf_dir / CONFLIST} is a directory: remove it, or name another directory by --cni-conf-dir"
    assert [path.name for path in conf_dir.iterdir()] == [CONFLIST]
    assert put(conf_dir) == put(conf_dir)
    (words,) = Files(str(conf_dir)).write({}, [str(conf_dir / CONFLIST)]).values()
    assert "is a directory: remove it" in words


@pytest.mark.parametrize("depth", [0, 1])
def test_a_file_in_the_directorys_place_is_said(conf_dir: Path, depth: int) -> None:
    """Whether it stands for the directory itself or for one above it."""
    blocked = [conf_dir, *conf_dir.parents][depth]
    blocked.parent.mkdir(parents=True)
    blocked.write_text("")
    (words,) = put(conf_dir).values()
    assert words.startswith(f"{conf_dir} is not a directory: remove what is in its place, or name another")
    assert Files(str(conf_dir)).read([str(conf_dir / CONFLIST)]) == {}


def test_a_missing_permission_is_said(conf_dir: Path) -> None:
    """The agent does not run as root."""
    conf_dir.mkdir(parents=True)
    conf_dir.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        (words,) = put(conf_dir).values()
    finally:
        os.seteuid(user)
    assert words.startswith(f"no permission to write in {conf_dir}: run the agent as root, or name another directory")
    assert list(conf_dir.iterdir()) == []


def test_a_read_only_file_system_is_said(tmp_path: Path) -> None:
    """The directory is mounted into the agent's container read-only."""
    require_netns()  # what it takes to mount
    script = "import sys; from cloudroute.adapters.cni import Files; print(Files('/').write({sys.argv[1]: b''}, ()))"
    command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"', str(tmp_path)]
    ended = subprocess.run(
        [*command, sys.executable, "-c", script, str(tmp_path / CONFLIST)], check=True, capture_output=True
    )
    said = f"{tmp_path} is on a read-only file system: mount it writable for the agent, or name another directory"
    assert said in ended.stdout.decode()


def test_one_failure_does_not_keep_the_others_from_being_written(conf_dir: Path) -> None:
    """Each entry fails alone."""
    (conf_dir / "a.conf").mkdir(parents=True)
    bad, good = str(conf_dir / "a.conf"), str(conf_dir / CONFLIST)
    assert set(Files(str(conf_dir)).write({bad: b"1", good: b"2"}, ())) == {bad}
    assert Path(good).read_bytes() == b"2"


# --- killed, and altered --------------------------------------------------------------------------


def test_a_process_killed_while_it_writes_leaves_the_old_content_and_the_next_write_cleans_up(conf_dir: Path) -> None:
    """Killed before the rename: no runtime takes what it left."""
    put(conf_dir)
    script = (
        "import os, signal, sys; from cloudroute.adapters.cni.files import Files\n"
        "os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Files('/').write({sys.argv[1]: b'new'}, ())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(conf_dir / CONFLIST)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = [path for path in conf_dir.iterdir() if path.name != CONFLIST]
    assert left.read_bytes() == b"new"
    assert left.suffix not in (".conf", ".conflist", ".json")
    assert (conf_dir / CONFLIST).read_bytes() == CONTENT
    assert put(conf_dir, b"newer") == {}
    assert [path.name for path in conf_dir.iterdir()] == [CONFLIST]


def test_own_writes_are_not_taken_for_others(conf_dir: Path) -> None:
    """Puts and drops."""
    files, key = Files(str(conf_dir)), str(conf_dir / CONFLIST)
    assert not files.altered()
    assert files.read([key]) == {}
    assert not files.altered()
    files.write({key: CONTENT}, ())
    assert not files.altered()
    files.write({key: b"other"}, ())
    assert not files.altered()
    files.write({}, [key])
    assert not files.altered()


def rewrite(path: Path) -> None:
    """Later by a millisecond: older kernels count file times in ticks."""
    before = path.stat().st_mtime_ns
    path.write_bytes(b"x" * len(CONTENT))
    os.utime(path, ns=(before, max(before + 1_000_000, path.stat().st_mtime_ns)))


def rename_over(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"x" * len(CONTENT))
    path.with_suffix(".new").rename(path)


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "deleted with its directory": lambda path: shutil.rmtree(path.parent),
    "appended to": lambda path: path.write_bytes(CONTENT + b"x"),
    "altered in place to the same length": rewrite,
    "replaced by one of the same length": rename_over,
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_alteration_is_told_once(conf_dir: Path, alter: Callable[[Path], object]) -> None:
    """Whether the process wrote the file or only read it."""
    put(conf_dir)
    writer, reader, key = Files(str(conf_dir)), Files(str(conf_dir)), str(conf_dir / CONFLIST)
    writer.write({key: CONTENT}, ())
    reader.read([key])
    assert not reader.altered()
    alter(conf_dir / CONFLIST)
    for files in (writer, reader):
        assert files.altered()
        assert not files.altered()
        assert files.read([key]).get(key) != CONTENT


def test_a_file_that_appears_is_told(conf_dir: Path) -> None:
    """A file of our name that another program makes, while none is wanted."""
    files = Files(str(conf_dir))
    files.read(())
    put(conf_dir)
    assert files.altered()
