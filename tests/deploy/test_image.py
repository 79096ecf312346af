"""The images: built here without a registry, they run, are small, and say what is in them."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cloudroute import __version__
from tests.deploy.conftest import CHART, DEPLOY, ROOT, VALUES, Run, named

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


@contextmanager
def container(image: Path, folder: Path) -> Iterator[Container]:
    """A function that runs a command in a container of the image, as the image's user; or words of `buildah run`."""
    base = ["buildah", "--root", f"{folder}/images", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]

    def buildah(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *words], capture_output=True, text=True, check=False)

    started = buildah("from", f"docker-archive:{image}")
    assert started.returncode == 0, started.stderr
    name = started.stdout.split()[-1]
    yield lambda *words, options=(): buildah("run", "--isolation", "chroot", *options, name, "--", *words)
    buildah("rm", name)
    buildah("rmi", "--all", "--force")


@pytest.fixture(scope="module")
def inside(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container of cloudroute's image."""
    with container(image, tmp_path_factory.mktemp("inside")) as run:
        yield run


def test_it_runs(inside: Container) -> None:
    """As nobody: the program, the agent's help, and nft, which the agent calls."""
    assert inside("cloudroute", "--version").stdout == f"cloudroute {__version__}\n"
    assert "--node-name" in inside("cloudroute", "agent", "--help").stdout
    assert inside("nft", "--version").stdout.startswith("nftables v")
    assert inside("id", "-u").stdout == "65532\n"


def test_what_was_left_out_is_not_missed(inside: Container) -> None:
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


def described(image: Path) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """An archive's tags, the configuration of its containers, and the list of what is in it."""
    with tarfile.open(image) as archive:

        def read(name: str) -> Any:
            member = archive.extractfile(name)
            assert member
            return json.load(member)

        (manifest,) = read("manifest.json")
        config = read(manifest["Config"])["config"]
    return manifest["RepoTags"], config, json.loads(image.with_suffix(".cdx.json").read_text())


def versions(sbom: dict[str, Any]) -> dict[str, str]:
    """By the package's URL without a version."""
    return {component["purl"].partition("@")[0]: component["version"] for component in sbom["components"]}


def test_what_it_is(image: Path) -> None:
    """Small; run by nobody; its packages are listed with their versions, Python's and Debian's."""
    assert image.stat().st_size < MOST_MB * 1e6
    tags, config, sbom = described(image)
    assert tags == [f"docker.io/library/cloudroute:{__version__}"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["cloudroute"]
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    found = versions(sbom)
    project = pins(DEPLOY / "image" / "requirements.lock")
    assert found["pkg:pypi/boto3"] == project["boto3"]
    assert "pkg:deb/debian/nftables" in found
    assert not {"pkg:pypi/moto", "pkg:pypi/pytest", "pkg:pypi/pip"} & found.keys()


def test_what_the_plugins_image_is(plugins_image: Path) -> None:
    """The same version, nobody, and two packages of Debian's."""
    tags, config, sbom = described(plugins_image)
    assert tags == [f"docker.io/library/cloudroute-cni-plugins:{__version__}"]
    assert config["User"] == "65532:65532"
    assert sbom["metadata"]["component"]["version"] == __version__
    assert versions(sbom).keys() == {"pkg:deb/debian/busybox-static", "pkg:deb/debian/containernetworking-plugins"}


def written(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes of a file when it is written or replaced, and not when it is read."""
    found = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (file.st_ino, file.st_mode, file.st_size, file.st_ctime_ns) for name, file in found.items()}


def test_the_plugins_image_puts_them_on_a_node(plugins_image: Path, helm: Run, tmp_path: Path) -> None:
    """By the chart's init container: what is missing and what differs, whole and executable, and nothing else."""
    rendered = helm("template", str(CHART), *VALUES, "--set", "agent.cniPlugins.image=plugins:1")
    agent = named(list(yaml.safe_load_all(rendered.stdout)), "DaemonSet", "cloudroute-agent")
    (init,) = agent["spec"]["template"]["spec"]["initContainers"]
    (node := tmp_path / "node").mkdir()
    (node / "bridge").write_text("an older one")
    (node / "dhcp").write_text("somebody's")
    options = ["--user", "0", "--volume", f"{node}:/host/cni-bin"]
    options += [f"--env={one['name']}={one['value']}" for one in init["env"]]
    with container(plugins_image, tmp_path) as run:
        first = run(*init["command"], options=options)
        assert first.returncode == 0, first.stderr
        before = written(node)
        again = run(*init["command"], options=options)
        assert again.returncode == 0, again.stderr
    assert written(node) == before
    assert before.keys() == {"bridge", "host-local", "loopback", "portmap", "bandwidth", "dhcp"}
    for name in before.keys() - {"dhcp"}:
        assert (node / name).stat().st_mode & 0o777 == 0o755
        asked = subprocess.run([node / name], env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=False)
        assert "0.4.0" in json.loads(asked.stdout)["supportedVersions"]
