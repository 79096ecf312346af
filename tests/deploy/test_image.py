"""The image: built here without a registry, it runs, is small, and says what is in it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cloudroute import __version__
from tests.deploy.conftest import DEPLOY, ROOT

MOST_MB = 200
"""Of the archive, which is not compressed."""
PIN = re.compile(r"^([a-z0-9][-a-z0-9._]*)==(\S+)", re.MULTILINE)
Container = Callable[..., "subprocess.CompletedProcess[str]"]


def pins(path: Path) -> dict[str, str]:
    """Name and version of each package of a lock."""
    return dict(PIN.findall(path.read_text()))


def needed(name: str) -> set[str]:
    """That package and all that it needs at run time, on this machine."""
    found: set[str] = set()
    asked = [name]
    while asked:
        one = canonicalize_name(asked.pop())
        if one not in found:
            found.add(one)
            wanted = map(Requirement, importlib.metadata.distribution(one).requires or ())
            asked += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def test_its_lock_is_part_of_the_projects() -> None:
    """The same versions as are tested, by their hashes; all that cloudroute needs to run, and nothing for tests."""
    project, image = (pins(folder / "requirements.lock") for folder in (ROOT, DEPLOY / "image"))
    assert image.items() <= project.items(), "run: make lock"
    assert pins(DEPLOY / "image" / "build.lock").items() <= project.items(), "run: make lock"
    installed = {canonicalize_name(one.name) for one in importlib.metadata.distributions()}
    assert needed("cloudroute") - {"cloudroute"} == image.keys() & installed


@pytest.fixture
def inside(image: Path, tmp_path: Path) -> Iterator[Container]:
    """A function that runs a command in a container of the image, as the image's user."""
    base = ["buildah", "--root", f"{tmp_path}/images", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]

    def buildah(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *words], capture_output=True, text=True, check=False)

    started = buildah("from", f"docker-archive:{image}")
    assert started.returncode == 0, started.stderr
    container = started.stdout.split()[-1]
    yield lambda *words: buildah("run", "--isolation", "chroot", container, "--", *words)
    buildah("rm", container)
    buildah("rmi", "--all", "--force")


def test_it_runs(inside: Container) -> None:
    """As nobody: the program, the agent's help, and nft, which the agent calls."""
    assert inside("cloudroute", "--version").stdout == f"cloudroute {__version__}\n"
    assert "--node-name" in inside("cloudroute", "agent", "--help").stdout
    assert inside("nft", "--version").stdout.startswith("nftables v")
    assert inside("id", "-u").stdout == "65532\n"


def test_what_was_left_out_is_not_missed(inside: Container, tmp_path: Path) -> None:
    """Both programs get as far as the API server that is not there: all that they import is in the image."""
    kubeconfig = (
        '{"apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],'
        ' "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],'
        ' "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}'
    )
    script = (
        f"echo '{kubeconfig}' >/tmp/kubeconfig; "
        "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=a cloudroute controller --once --kubeconfig /tmp/kubeconfig "
        "--cluster-cidr 10.244.0.0/16 --region eu-central-1 --leader-elect=false --listen :0"
    )
    answer = inside("sh", "-c", script)
    assert answer.returncode == 1
    assert "127.0.0.1:1" in answer.stderr
    assert "Traceback" not in answer.stderr
    clients = "import boto3; [boto3.client(s, region_name='eu-central-1') for s in ('ec2', 'service-quotas', 'sts')]"
    answer = inside("/opt/cloudroute/bin/python", "-c", clients)
    assert answer.returncode == 0, answer.stderr


def test_what_it_is(image: Path) -> None:
    """Small; run by nobody; its packages are listed with their versions, Python's and Debian's."""
    assert image.stat().st_size < MOST_MB * 1e6
    with tarfile.open(image) as archive:

        def read(name: str) -> Any:
            member = archive.extractfile(name)
            assert member
            return json.load(member)

        (manifest,) = read("manifest.json")
        config = read(manifest["Config"])
    assert f"cloudroute:{__version__}" in manifest["RepoTags"][0]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["cloudroute"]
    sbom = json.loads(image.with_suffix(".cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    found = {component["purl"].partition("@")[0]: component["version"] for component in sbom["components"]}
    project = pins(DEPLOY / "image" / "requirements.lock")
    assert found["pkg:pypi/boto3"] == project["boto3"]
    assert "pkg:deb/debian/nftables" in found
    assert not {"pkg:pypi/moto", "pkg:pypi/pytest", "pkg:pypi/pip"} & found.keys()


def test_the_same_sources_give_the_same_bytes(image: Path, build_image: Callable[[Path], Path], tmp_path: Path) -> None:
    """Built again, archive and list are equal."""
    again = build_image(tmp_path)
    for path, other in ((image, again), (image.with_suffix(".cdx.json"), again.with_suffix(".cdx.json"))):
        same = path.read_bytes() == other.read_bytes()
        assert same, path.name
