"""Container images without a registry: one static program, packed as by `docker save`, for `ctr images import`.

The same program and arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudroute.errors import CloudrouteError

PAUSE = "cloudroute.lab/pause:1"
"""Holds a pod's network namespace."""
WEB = "cloudroute.lab/web:1"
"""Answers `GET /hostname` on port 80 with the pod's name."""
ENTRYPOINTS: Mapping[str, Sequence[str]] = {
    PAUSE: ("/bin/busybox", "sleep", "2147483647"),
    WEB: ("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/etc"),
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PT_INTERP = 3


def find_busybox() -> Path | None:
    """A busybox that needs no libraries, or None."""
    found = shutil.which("busybox")
    return Path(found) if found and _is_static(Path(found).read_bytes()) else None


def make_images(folder: Path) -> list[Path]:
    """Write the lab's images into `folder`, one archive each. Raises CloudrouteError without a static busybox."""
    busybox = find_busybox()
    if busybox is None:
        raise CloudrouteError("there is no statically linked busybox: install it (Debian: busybox-static)")
    folder.mkdir(parents=True, exist_ok=True)
    names = {reference: reference.rpartition("/")[2].partition(":")[0] for reference in ENTRYPOINTS}
    return [
        make_image(folder / f"{name}.tar", reference, ENTRYPOINTS[reference], busybox)
        for reference, name in names.items()
    ]


def make_image(path: Path, reference: str, entrypoint: Sequence[str], program: Path) -> Path:
    """Write an archive with the image `reference` (NAME:TAG); its only file is `program`, in /bin. Returns `path`."""
    layer = _tar({f"bin/{program.name}": program.read_bytes()}, mode=0o755)
    config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        }
    )
    names = f"{_digest(config)}.json", f"{_digest(layer)}.tar"
    manifest = _json([{"Config": names[0], "RepoTags": [reference], "Layers": [names[1]]}])
    path.write_bytes(_tar({names[0]: config, names[1]: layer, "manifest.json": manifest}))
    return path


def _tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)  # owned by root, dated 1970: the same bytes each time
            entry.size = len(content)
            entry.mode = mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_static(elf: bytes) -> bool:
    """Whether a program has no ELF interpreter (64-bit little endian, as Linux here)."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return False
    start, size, count = (int.from_bytes(elf[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2)))
    kinds = (int.from_bytes(elf[start + n * size : start + n * size + 4], "little") for n in range(count))
    return _PT_INTERP not in kinds
