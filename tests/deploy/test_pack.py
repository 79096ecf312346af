"""All files of an image are of its architecture, or nothing is packed."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY

ELF = {"amd64": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00", "arm64": b"\x7fELF" + bytes(14) + b"\xb7\x00"}
"""As `file` knows a program by: e_machine is at byte 18."""
WHEEL = "opt/cloudroute/lib/python3.11/site-packages/yarl-1.dist-info/WHEEL"
TAGS = {"amd64": b"Tag: cp311-cp311-manylinux1_x86_64\n", "arm64": b"Tag: cp311-cp311-manylinux2014_aarch64\n"}


def layout(folder: Path, architecture: str, program: bytes, wheel: bytes) -> Path:
    """A folder as `buildah push IMAGE oci:FOLDER` makes it."""
    files = {"usr/bin/nft": program, WHEEL: wheel, "opt/cloudroute/sbom.cdx.json": architecture.encode(), "etc/x": b""}
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": len(content)}

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as layer:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            layer.addfile(entry, io.BytesIO(content))
    config = put(json.dumps({"architecture": architecture, "os": "linux"}).encode())
    manifest = put(json.dumps({"config": config, "layers": [put(packed.getvalue())]}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


def pack(folder: Path, *layouts: Path) -> subprocess.CompletedProcess[str]:
    """Pack as `build.sh` does at its end, into FOLDER/image.tar."""
    command = [sys.executable, str(DEPLOY / "image" / "pack.py"), str(folder / "image"), "example.org/a:1"]
    return subprocess.run([*command, *map(str, layouts)], capture_output=True, text=True, check=False)


def test_two_architectures_become_one_archive(tmp_path: Path) -> None:
    """The index of an OCI layout leads to an index of both, and each image has its list beside the archive."""
    layouts = [layout(tmp_path / one, one, ELF[one], TAGS[one]) for one in ELF]
    done = pack(tmp_path, *layouts)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/image.tar\n", "")
    with tarfile.open(tmp_path / "image.tar") as archive:
        held = {member.name: file.read() for member in archive if (file := archive.extractfile(member))}
    digests = [hashlib.sha256(content).hexdigest() for name, content in held.items() if name.startswith("blobs/")]
    assert [f"blobs/sha256/{digest}" for digest in digests] == [name for name in held if name.startswith("blobs/")]
    (top,) = json.loads(held["index.json"])["manifests"]
    assert top["annotations"] == {
        "io.containerd.image.name": "example.org/a:1",
        "org.opencontainers.image.ref.name": "1",
    }
    index = json.loads(held[f"blobs/sha256/{top['digest'].removeprefix('sha256:')}"])
    assert [one["platform"] for one in index["manifests"]] == [{"architecture": one, "os": "linux"} for one in ELF]
    assert json.loads(held["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert {one: (tmp_path / f"image-{one}.cdx.json").read_text() for one in ELF} == {one: one for one in ELF}


@pytest.mark.parametrize(("architecture", "other"), [("amd64", "arm64"), ("arm64", "amd64")])
def test_files_of_another_architecture_are_refused(tmp_path: Path, architecture: str, other: str) -> None:
    """Each by its name, programs and wheels alike; nothing is written."""
    machines = {"amd64": 62, "arm64": 183}
    done = pack(tmp_path, layout(tmp_path / "layout", architecture, ELF[other], TAGS[other]))
    assert done.returncode == 1
    wheel = TAGS[other].decode().removeprefix("Tag: ").strip()
    assert done.stderr.splitlines() == [
        f"{architecture}: usr/bin/nft is a program of another machine: "
        f"e_machine is {machines[other]}, not {machines[architecture]}",
        f"{architecture}: {WHEEL} is that of a wheel for another machine: {wheel}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]
