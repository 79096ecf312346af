"""Builds all that a release consists of into a folder; the same commit gives the same bytes anywhere and at any time.

    python deploy/release/build.py [--final] FOLDER

Needs git and what deploy/image/build.sh needs; the Python that runs it has hatchling. Exit codes: 0 done, 1 a step
failed, 2 this can't be released, with a line for each reason.

All times in it are the day of the version's section in CHANGELOG.md. The sdist, built with the SOURCE_DATE_EPOCH that
this program prints, gives the same wheel.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import check

ROOT = Path(__file__).resolve().parents[2]
IMAGES = "deploy/image/build.sh"


def main() -> int:
    """Check, build, move into place, tell."""
    parser = argparse.ArgumentParser(description="Build all that a release of cloudroute consists of.")
    parser.add_argument("folder", type=Path, help="where to, as dist")
    parser.add_argument("--final", action="store_true", help="refuse what is not committed or not in the changelog")
    options = parser.parse_args()
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        say("no release: what belongs into it is what git knows: install git, and run this in a clone")
        return 2
    unfinished = check.unfinished(ROOT)
    if reasons := [*check.disagreements(ROOT), *missing(), *(unfinished if options.final else [])]:
        say(*(f"no release: {reason}" for reason in reasons))
        return 2
    epoch = check.released_at(ROOT) or 0
    with tempfile.TemporaryDirectory() as folder:
        sources, out = Path(folder, "sources"), Path(folder, "out")
        export(sources)
        out.mkdir()
        try:
            build(sources, out, epoch)
        except subprocess.CalledProcessError as failed:
            say(str(failed))
            return 1
        options.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(out.iterdir()):  # when all are whole: an interrupted release leaves nothing half
            sys.stdout.write(f"{path.stat().st_size / 1e6:8.2f} MB  {options.folder / path.name}\n")
            shutil.move(path, options.folder / path.name)
    say(f"cloudroute {check.version(ROOT)}, SOURCE_DATE_EPOCH={epoch}")
    say(*(f"a snapshot, not a release: {reason}" for reason in unfinished))
    return 0


def missing() -> list[str]:
    """The programs that the images need and that are not there."""
    command = [str(ROOT / IMAGES), "--check"]
    asked = subprocess.run(command, env=environment(0), stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return asked.stderr.splitlines()


def export(sources: Path) -> None:
    """Copy all files that git tracks or would track: no ignored file gets into a release."""
    for name in filter(None, check.git(ROOT, "ls-files", "-z", "-co", "--exclude-standard").split("\0")):
        if (ROOT / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, sources / name)


def build(sources: Path, out: Path, epoch: int) -> None:
    """Build every file of the release into `out`. Raises CalledProcessError."""
    hatch = [sys.executable, "-m", "hatchling", "build", "-d", str(out), "-t", "wheel", "-t", "sdist"]
    images = [str(sources / IMAGES), str(out)]
    for command in (hatch, images):
        subprocess.run(command, cwd=sources, env=environment(epoch), stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    pack_chart(sources, out, epoch)
    shutil.copy(sources / "deploy" / "cloudroute.yaml", out)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.iterdir())]
    (out / "SHA256SUMS").write_text("".join(sums))


def pack_chart(sources: Path, out: Path, epoch: int) -> None:
    """Pack the chart as `helm package` does, without the time of packaging."""
    chart = sources / "deploy" / "chart"
    ignored = [line for line in (chart / ".helmignore").read_text().splitlines() if line and line[0] != "#"]
    name = f"cloudroute-{check.version(sources)}.tgz"
    with (
        (out / name).open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in sorted(path for path in chart.rglob("*") if path.is_file()):
            inside = path.relative_to(chart).as_posix()
            if not any(fnmatch.fnmatch(inside, pattern) for pattern in ignored):
                entry = tarfile.TarInfo(f"cloudroute/{inside}")
                entry.size, entry.mtime = path.stat().st_size, epoch
                with path.open("rb") as content:
                    archive.addfile(entry, content)


def environment(epoch: int) -> dict[str, str]:
    """Environment of the programs that build."""
    return {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHON": sys.executable}


def say(*lines: str) -> None:
    """Progress and errors."""
    for line in lines:
        sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
