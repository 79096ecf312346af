"""Image archives have the format of container tools, and the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from cloudroute.lab.hosts.images import find_busybox, make_image


def content(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.extractfile(name)
    assert entry
    return entry.read()


def test_an_image_is_its_program_and_its_words(tmp_path: Path) -> None:
    """The manifest leads to the configuration, that to the layer by its digest, and the layer holds the program."""
    program = tmp_path / "serve"
    program.write_bytes(b"\x7fELF")
    path = make_image(tmp_path / "image.tar", "lab/serve:2", ["/bin/serve", "80"], program)
    with tarfile.open(path) as archive:
        (manifest,) = json.loads(content(archive, "manifest.json"))
        config = json.loads(content(archive, manifest["Config"]))
        (layer,) = manifest["Layers"]
        assert manifest["RepoTags"] == ["lab/serve:2"]
        assert config["config"]["Entrypoint"] == ["/bin/serve", "80"]
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content(archive, layer)).hexdigest()}"]
        archive.extract(layer, tmp_path, filter="data")
    with tarfile.open(tmp_path / layer) as files:
        assert content(files, "bin/serve") == b"\x7fELF"
        assert files.getmember("bin/serve").mode == 0o755


def test_the_same_program_and_words_give_the_same_bytes(tmp_path: Path) -> None:
    """The archive depends on neither time nor folder; other arguments give another archive."""
    program = tmp_path / "serve"
    program.write_bytes(b"\x7fELF")
    first, second, other = (
        make_image(tmp_path / name, "lab/serve:2", [word], program).read_bytes()
        for name, word in (("a.tar", "x"), ("b.tar", "x"), ("c.tar", "y"))
    )
    assert first == second != other


def test_a_busybox_that_needs_libraries_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dynamically linked busybox or a script is refused: the image has no libraries."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_busybox() is None
    busybox = tmp_path / "busybox"
    for wrong in (Path("/proc/self/exe").read_bytes(), b"#!/bin/sh\n", b""):
        busybox.write_bytes(wrong)
        busybox.chmod(0o755)
        assert find_busybox() is None
