"""The image: built here without a registry for two architectures, it runs, is small, and says what is in it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cloudroute import __version__
from cloudroute.adapters.cni.install import FOLDER
from cloudroute.adapters.cni.installed import PLUGINS
from tests.deploy.conftest import CHART, DEPLOY, ROOT, VALUES, Run, named

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Of the image, by the machine's name."""
OWN_ARCHITECTURE = pytest.mark.parametrize("inside", [ARCHITECTURES[platform.machine()]], indirect=True)
"""For what is the same in all: the others run in QEMU, ten times as slow."""
MOST_MB = 70
"""Of one architecture, compressed as it is pulled."""
PIN = re.compile(r"^([a-z0-9][-a-z0-9._]*)==(\S+)", re.MULTILINE)
Container = Callable[..., "subprocess.CompletedProcess[str]"]


def pins(path: Path) -> dict[str, str]:
    """Name and version of each package of a lock."""
    return dict(PIN.findall(path.read_text()))


def needed(name: str) -> set[str]:
    """This package and all that it needs at run time, on this machine."""
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


@pytest.fixture(scope="module", params=ARCHITECTURES.values())
def inside(
    image: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A function that runs a command in a container of the image, as the image's user; or words of `buildah run`."""
    folder = tmp_path_factory.mktemp("inside")
    base = [str(DEPLOY / "image" / "emulate.sh"), "buildah", "--root", f"{folder}/images", "--runroot", f"{folder}/run"]

    def buildah(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *words], capture_output=True, text=True, check=False)

    started = buildah("from", "--arch", request.param, f"oci-archive:{image}")
    assert started.returncode == 0, started.stderr
    name = started.stdout.split()[-1]
    yield lambda *words, options=(): buildah("run", "--isolation", "chroot", *options, name, "--", *words)
    buildah("rm", name)
    buildah("rmi", "--all", "--force")


def test_it_runs(inside: Container) -> None:
    """As nobody: the program and the agent's help."""
    assert inside("cloudroute", "--version").stdout == f"cloudroute {__version__}\n"
    assert "--node-name" in inside("cloudroute", "agent", "--help").stdout
    assert inside("id", "-u").stdout == "65532\n"


@OWN_ARCHITECTURE
def test_the_lab_is_not_in_it(inside: Container) -> None:
    """No file of it; the commands that need it say how to get it."""
    package = inside("find", "/opt/cloudroute", "-path", "*/site-packages/cloudroute/*").stdout.splitlines()
    assert [path for path in package if path.endswith("/cloudroute/cli.py")]
    assert [path for path in package if "/cloudroute/lab" in path] == []
    answer = inside("cloudroute", "demo")
    assert answer.returncode == 2
    assert "pip install 'cloudroute[lab]'" in answer.stderr


@OWN_ARCHITECTURE
def test_nft_runs(inside: Container) -> None:
    """The agent calls it. QEMU knows no netlink of netfilter, so only on the machine's own architecture."""
    assert inside("nft", "--version").stdout.startswith("nftables v")


def test_it_puts_its_plugins_on_a_node(inside: Container, helm: Run, tmp_path: Path) -> None:
    """By the words of the chart's init container: those that cloudroute installs, and they run."""
    rendered = helm("template", "cloudroute", str(CHART), *VALUES)
    agent = named([*yaml.safe_load_all(rendered.stdout)], "DaemonSet", "cloudroute-agent")
    (init,) = agent["spec"]["template"]["spec"]["initContainers"]
    mounted = ("--user", "0", "--volume", f"{tmp_path}:{init['volumeMounts'][0]['mountPath']}")
    installed = inside(*init["command"], options=mounted)
    assert installed.returncode == 0, installed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {*PLUGINS, FOLDER}
    assert inside("ls", "/usr/lib/cni").stdout.split() == sorted(PLUGINS)
    for name in PLUGINS:
        asked = inside(f"/usr/lib/cni/{name}")
        assert asked.stderr.startswith(f"CNI {name} plugin"), asked.stderr


@OWN_ARCHITECTURE
def test_files_left_out_of_the_image_are_not_missed(inside: Container) -> None:
    """All programs get as far as the API server that is not there: all that they import is in the image."""
    kubeconfig = (
        '{"apiVersion": "v1", "kind": "Config", "current-context": "a", "users": [{"name": "a", "user": {}}],'
        ' "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],'
        ' "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]}'
    )
    for program in (
        "AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=a cloudroute controller --once --cluster-cidr 10.244.0.0/16 "
        "--region eu-central-1 --leader-elect=false --listen :0",
        "HTTP_PROXY=http://127.0.0.1:2 cloudroute status",  # by another way in the client's package
        "cloudroute verify",
    ):
        script = f"echo '{kubeconfig}' >/tmp/kubeconfig; {program} --kubeconfig /tmp/kubeconfig"
        answer = inside("sh", "-c", script)
        assert answer.returncode == 1
        assert "127.0.0.1:1" in answer.stderr
        assert "Traceback" not in answer.stderr
    clients = "import boto3; [boto3.client(s, region_name='eu-central-1') for s in ('ec2', 'service-quotas', 'sts')]"
    answer = inside("/opt/cloudroute/bin/python", "-c", clients)
    assert answer.returncode == 0, answer.stderr


def described(image: Path, architecture: str) -> tuple[str, int, dict[str, Any], dict[str, Any]]:
    """An image's name, its size, the configuration of its containers, and the list of what is in it."""
    with tarfile.open(image) as archive:

        def read(name: str) -> Any:
            member = archive.extractfile(name)
            assert member
            return json.load(member)

        def blob(descriptor: dict[str, Any]) -> Any:
            return read(f"blobs/{descriptor['digest'].replace(':', '/')}")

        (index,) = read("index.json")["manifests"]
        (found,) = (one for one in blob(index)["manifests"] if one["platform"]["architecture"] == architecture)
        manifest = blob(found)
        config = blob(manifest["config"])["config"]
    sbom = json.loads(image.with_name(f"{image.stem}-{architecture}.cdx.json").read_text())
    size = sum(layer["size"] for layer in manifest["layers"])
    return index["annotations"]["io.containerd.image.name"], size, config, sbom


def versions(sbom: dict[str, Any]) -> dict[str, str]:
    """By the package's URL without a version."""
    return {component["purl"].partition("@")[0]: component["version"] for component in sbom["components"]}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values())
def test_size_user_and_packages(image: Path, architecture: str) -> None:
    """Small; run by nobody; its packages are listed with their versions, Python's and Debian's."""
    name, size, config, sbom = described(image, architecture)
    assert size < MOST_MB * 1e6
    assert name == f"docker.io/library/cloudroute:{__version__}"
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["cloudroute"]
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["version"]) == ("CycloneDX", __version__)
    debian = {one["purl"].partition("?arch=")[2] for one in sbom["components"] if one["purl"].startswith("pkg:deb/")}
    assert debian == {architecture, "all"}
    found = versions(sbom)
    project = pins(DEPLOY / "image" / "requirements.lock")
    assert found["pkg:pypi/boto3"] == project["boto3"]
    assert {"pkg:deb/debian/nftables", "pkg:deb/debian/containernetworking-plugins"} <= found.keys()
    assert not {"pkg:pypi/moto", "pkg:pypi/pytest", "pkg:pypi/pip", "pkg:deb/debian/iptables"} & found.keys()
