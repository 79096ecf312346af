"""The systemd-networkd that manages this machine's NICs: its version, and the settings that are switched off.

Its configuration is read below the root directory of its process. As in networkd.conf(5), the first networkd.conf by
folder counts, then the drop-ins of all folders by name; one of an earlier folder hides those of the same name.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cloudroute.core.explain.doctor.facts import Networkd
from cloudroute.core.explain.doctor.findings import Unknown

_FOLDERS = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")
_NO = ("0", "no", "n", "false", "f", "off")
_COMM = "systemd-network"
"""The process's name, which the kernel cuts after 15 characters."""
_SECONDS = 5.0


def look(proc: Path = Path("/proc")) -> Networkd | Unknown | None:
    """Return the facts; None where no systemd-networkd runs in this network namespace."""
    own = os.stat(proc / "thread-self/ns/net").st_ino
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has just ended
            if _comm(process) == _COMM and os.stat(process / "ns/net").st_ino == own:
                return _describe(process)
    if _comm(proc / "1") != "systemd":
        return Unknown("the machine's processes are not seen from here: run doctor on the node itself")
    return None


def _describe(process: Path) -> Networkd | Unknown:
    try:
        argv = (str(process / "exe"), "--version")
        said = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return Unknown(f"the version of systemd-networkd can't be asked: {error}")
    found = re.match(r"systemd (\d+)", said)
    if found is None:
        return Unknown(f"systemd-networkd says no version: {said[:60]!r}")
    settings = {key: value for file in _files(process / "root") for key, value in _settings(file)}
    return Networkd(int(found[1]), frozenset(key for key, value in settings.items() if value.lower() in _NO))


def _files(root: Path) -> Iterator[Path]:
    """Configuration files in order of precedence: a later one overrides."""
    mains = (root / folder / "networkd.conf" for folder in _FOLDERS)
    yield from [file for file in mains if file.exists()][:1]
    drop_ins = {
        file.name: file for folder in reversed(_FOLDERS) for file in (root / folder).glob("networkd.conf.d/*.conf")
    }
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _settings(file: Path) -> Iterator[tuple[str, str]]:
    """Settings in the file's section [Network]."""
    section = ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("["):
            section = line.strip()
        elif section == "[Network]" and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _comm(process: Path) -> str:
    return (process / "comm").read_text(encoding="utf-8").strip()
