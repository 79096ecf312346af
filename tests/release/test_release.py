"""`make release`: complete, usable and reproducible."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute import __version__
from tests.deploy.conftest import Run
from tests.releases import DAY, commit, git, release

Clone = Callable[[str], Path]
EPOCH = int(datetime.fromisoformat(DAY).replace(tzinfo=UTC).timestamp())


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def run(*command: str | Path, where: Path, **environment: str) -> str:
    """Output of a command, which must succeed."""
    whole = {**os.environ, **environment}
    done = subprocess.run(command, cwd=where, env=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_clone_gives_the_same_bytes(
    built: Path, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release is reproducible: another folder, other modes and times, and ignored files give the same bytes."""
    other = clone("a folder of somebody else")
    for path in other.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    (other / "cloudroute" / "__pycache__").mkdir()
    (other / "cloudroute" / "__pycache__" / "left.pyc").write_text("")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    done = release(other, tmp_path / "out", umask=0o077)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == digests(built)


def test_all_files_are_there_of_one_version(built: Path) -> None:
    """A release has program, chart, manifests, image, SBOM and checksums, all of one version."""
    images = {f"cloudroute-{__version__}-image{end}" for end in (".tar", "-amd64.cdx.json", "-arm64.cdx.json")}
    program = {f"cloudroute-{__version__}-py3-none-any.whl", f"cloudroute-{__version__}.tar.gz"}
    chart = {f"cloudroute-{__version__}.tgz", "cloudroute.yaml"}
    assert digests(built).keys() == {*images, *program, *chart, "SHA256SUMS"}
    run("sha256sum", "--check", "--strict", "SHA256SUMS", where=built)
    assert len((built / "SHA256SUMS").read_text().splitlines()) == len(images | program | chart)


def test_the_wheel_has_every_file_of_the_program(built: Path, sources: Path) -> None:
    """CustomResourceDefinitions and all other data of the commands among them, and nothing else."""
    with zipfile.ZipFile(built / f"cloudroute-{__version__}-py3-none-any.whl") as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == set(git(sources, "ls-files", "cloudroute").split())


def test_the_wheel_works_where_no_repository_is(built: Path, tmp_path: Path) -> None:
    """The wheel works in an environment of its own with the dependencies."""
    run(sys.executable, "-m", "venv", "--without-pip", "env", where=tmp_path)
    (wheel,) = built.glob("*.whl")
    python = tmp_path / "env" / "bin" / "python"
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, where=tmp_path)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs, ours = (run(one, "-c", ask, where=tmp_path).strip() for one in (python, sys.executable))
    Path(theirs, "needed.pth").write_text(ours)  # of our own folder no .pth is read, so no editable cloudroute either

    program = tmp_path / "env" / "bin" / "cloudroute"
    where = run(python, "-c", "import cloudroute; print(cloudroute.__file__)", where=tmp_path)
    assert where.startswith(theirs)
    assert run(program, "--version", where=tmp_path) == f"cloudroute {__version__}\n"
    kinds = {one["spec"]["names"]["kind"] for one in yaml.safe_load_all(run(program, "crd", where=tmp_path))}
    assert kinds == {"NodeRoute", "RouteTable"}
    assert "--packets" in run(program, "demo", "--help", where=tmp_path)


def test_the_sdist_gives_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """The sdist builds the same wheel, with the day of the release as SOURCE_DATE_EPOCH."""
    with tarfile.open(built / f"cloudroute-{__version__}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    run(*command, where=tmp_path / f"cloudroute-{__version__}", SOURCE_DATE_EPOCH=str(EPOCH))
    name = f"cloudroute-{__version__}-py3-none-any.whl"
    assert (tmp_path / name).read_bytes() == (built / name).read_bytes()


def test_the_sdist_is_the_repository(built: Path, sources: Path) -> None:
    """Tests, documents and all; its files are of the day of the release."""
    with tarfile.open(built / f"cloudroute-{__version__}.tar.gz") as sdist:
        held = {member.name.partition("/")[2]: member.mtime for member in sdist}
    assert held.keys() - {"PKG-INFO"} == set(git(sources, "ls-files").split())
    assert set(held.values()) == {EPOCH}


def contents(chart: Path) -> dict[str, bytes]:
    """Of a packed chart; Helm writes Chart.yaml anew, in an order of its own."""
    with tarfile.open(chart) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
        return {name: file.read() for name, file in files if file and name != "cloudroute/Chart.yaml"}


def test_the_chart_is_what_helm_would_pack(built: Path, sources: Path, helm: Run, tmp_path: Path) -> None:
    """The same files; and Helm renders it to the manifests of this release."""
    packed = helm("package", str(sources / "deploy" / "chart"), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    name = f"cloudroute-{__version__}.tgz"
    assert contents(built / name) == contents(tmp_path / name)

    plain = sources / "deploy" / "chart" / "plain.yaml"
    words = ("--namespace", "cloudroute", "--kube-version", "1.34.0", "--skip-tests", "--values", str(plain))
    rendered = helm("template", "cloudroute", str(built / name), *words)
    assert rendered.returncode == 0, rendered.stderr
    manifests: list[Any] = [*yaml.safe_load_all((built / "cloudroute.yaml").read_text())]
    assert [*yaml.safe_load_all(rendered.stdout)] == manifests


def change(sources: Path, path: str, old: str, new: str) -> None:
    """Replace text that must exist."""
    text = (sources / path).read_text()
    assert old in text
    (sources / path).write_text(text.replace(old, new))


def spoil(sources: Path) -> None:
    """A tree with every fault: a half-changed version, no changelog, uncommitted files."""
    change(sources, "cloudroute/__init__.py", __version__, "9.9.9rc1")
    change(sources, "deploy/chart/Chart.yaml", f"appVersion: {__version__}", "appVersion: 9.9.9rc1")
    (sources / "a draft.md").write_text("")


TRUE = "but cloudroute/__init__.py says 9.9.9rc1"
DISAGREEMENTS = [
    f"no release: deploy/chart/Chart.yaml: version is {__version__}, {TRUE}: change it",
    f"no release: deploy/cloudroute.yaml: label is {__version__}, {TRUE}: run: make manifests",
    f"no release: deploy/cloudroute.yaml: image is {__version__}, {TRUE}: run: make manifests",
]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can build images")
class TestRefusals:
    """A refusal exits with 2, prints a line for each reason, and writes nothing."""

    def test_all_reasons_are_said_at_once(self, clone: Clone, tmp_path: Path) -> None:
        spoil(sources := clone("sources"))
        done = release(sources, tmp_path / "out", "--final")
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            *DISAGREEMENTS,
            "no release: cloudroute/__init__.py: 9.9.9rc1 is no release: Python and Helm both understand X.Y.Z alone",
            'no release: CHANGELOG.md: no section "## [9.9.9rc1] - YYYY-MM-DD" right below an empty "## [Unreleased]"',
            'no release: not committed: cloudroute/__init__.py, deploy/chart/Chart.yaml, "a draft.md"',
        ]
        assert not (tmp_path / "out").exists()

    def test_a_snapshot_needs_one_version_alone(self, clone: Clone, tmp_path: Path) -> None:
        spoil(sources := clone("sources"))
        done = release(sources, tmp_path / "out")
        assert (done.returncode, done.stderr.splitlines()) == (2, DISAGREEMENTS)

    def test_lines_below_unreleased_would_be_lost(self, clone: Clone, tmp_path: Path) -> None:
        change(sources := clone("sources"), "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- Something.\n")
        commit(sources)
        done = release(sources, tmp_path / "out", "--final")
        assert done.returncode == 2
        (reason,) = done.stderr.splitlines()
        assert f'no section "## [{__version__}] - YYYY-MM-DD" right below an empty "## [Unreleased]"' in reason

    def test_a_folder_that_is_no_clone(self, clone: Clone, tmp_path: Path) -> None:
        shutil.rmtree((sources := clone("sources")) / ".git")
        done = release(sources, tmp_path / "out")
        assert (done.returncode, "install git, and run this in a clone" in done.stderr) == (2, True)

    def test_a_program_that_is_missing(self, clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tools := tmp_path / "bin").mkdir()
        for name in ("bash", "env", "git", "dirname", "realpath", "buildah", "arch-test"):
            (tools / name).symlink_to(Path("/usr/bin") / name)
        monkeypatch.setenv("PATH", str(tools))
        done = release(clone("sources"), tmp_path / "out")
        missing = "no release: missing: the program mmdebstrap (Debian: apt-get install mmdebstrap)"
        assert (done.returncode, done.stderr.splitlines()) == (2, [missing])


def test_a_step_that_fails_leaves_nothing_half(clone: Clone, tmp_path: Path) -> None:
    """A failed step exits with 1 and its output, and leaves no partial release."""
    change(sources := clone("sources"), "pyproject.toml", 'readme = "README.md"', 'readme = "NOTHING.md"')
    commit(sources)
    done = release(sources, tmp_path / "out")
    assert done.returncode == 1
    assert "NOTHING.md" in done.stderr
    assert not (tmp_path / "out").exists()
