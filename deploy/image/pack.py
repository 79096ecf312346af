"""Packs images, one of each architecture, as one archive: an OCI layout whose index leads to all of them.

    python pack.py STEM NAME:TAG LAYOUT...

A LAYOUT is a folder that `buildah push IMAGE oci:LAYOUT` has made. STEM.tar is the archive; STEM-ARCHITECTURE.cdx.json
lists what is in an image, and is taken from it. Exit code 1, and nothing written: a program or a Python package in an
image is of another architecture. The same layouts give the same bytes.

Source: github.com/opencontainers/image-spec, image-layout.md and image-index.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MACHINES = {"amd64": (62, "x86_64"), "arm64": (183, "aarch64")}
"""Of each architecture: e_machine of its ELF files (elf(5)), and the word in the tags of its wheels (PEP 600)."""
SBOM = "opt/cloudroute/sbom.cdx.json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class Image(NamedTuple):
    """An image of one architecture."""

    architecture: str
    descriptor: dict[str, Any]
    """Of its manifest, as the index has it."""
    sbom: bytes
    wrong: list[str]
    """Files of another architecture, a sentence each."""


def look(layout: Path) -> Image:
    """Read the one image of a layout."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(descriptor["digest"]).read_text())
    config = json.loads(blob(manifest["config"]["digest"]).read_text())
    architecture = config["architecture"]
    sbom, wrong = b"", []
    for layer in manifest["layers"]:
        for name, content in files(blob(layer["digest"])):
            wrong += [f"{architecture}: {name} is {said}" for said in foreign(architecture, name, content)]
            sbom = content if name == SBOM else sbom
    platform = {"architecture": architecture, "os": config["os"]}
    kept = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
    return Image(architecture, {**kept, "platform": platform}, sbom, wrong)


def files(layer: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file of a layer."""
    with tarfile.open(layer) as archive:
        for member in archive:
            if file := archive.extractfile(member) if member.isreg() else None:
                yield member.name.removeprefix("./"), file.read()


def foreign(architecture: str, name: str, content: bytes) -> Iterator[str]:
    """Say why a file does not belong into an image of that architecture; nothing if it does."""
    number, word = MACHINES[architecture]
    if content[:4] == b"\x7fELF" and (found := int.from_bytes(content[18:20], "little")) != number:
        yield f"a program of another machine: e_machine is {found}, not {number}"
    if name.endswith(".dist-info/WHEEL"):
        tags = [line.removeprefix("Tag: ") for line in content.decode().splitlines() if line.startswith("Tag: ")]
        if not any(tag.endswith((f"_{word}", "-any")) for tag in tags):
            yield f"that of a wheel for another machine: {', '.join(tags)}"


def pack(archive: Path, reference: str, images: list[Image], layouts: list[Path]) -> None:
    """Write the archive: names and contents of blobs are as in the layouts."""
    index = document({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [one.descriptor for one in images]})
    # containerd reads the first of the names, skopeo and others the second.
    names = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    digest = hashlib.sha256(index).hexdigest()
    top = {"mediaType": INDEX_TYPE, "digest": f"sha256:{digest}", "size": len(index), "annotations": names}
    blobs = {f"blobs/sha256/{path.name}": path for layout in layouts for path in (layout / "blobs/sha256").iterdir()}
    written: dict[str, bytes | Path] = {
        "oci-layout": document({"imageLayoutVersion": "1.0.0"}),
        "index.json": document({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [top]}),
        f"blobs/sha256/{digest}": index,
        **dict(sorted(blobs.items())),
    }
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as packed:
        for name, content in written.items():
            entry = tarfile.TarInfo(name)  # root's, made in 1970
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
                packed.addfile(entry, file)


def document(value: Any) -> bytes:
    """Always the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main(stem: str, reference: str, *folders: str) -> int:
    """Check, then write."""
    layouts = [Path(folder) for folder in folders]
    images = [look(layout) for layout in layouts]
    if wrong := [line for image in images for line in image.wrong]:
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        return 1
    for image in images:
        Path(f"{stem}-{image.architecture}.cdx.json").write_bytes(image.sbom)
    pack(Path(f"{stem}.tar"), reference, images, layouts)
    sys.stdout.write(f"{stem}.tar\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
