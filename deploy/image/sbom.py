"""Prints the SBOM of an image as a CycloneDX document: cloudroute, Python's packages and Debian's.

    python sbom.py DPKG_STATUS

Runs in the build of the image, on the standard library alone, by the Python whose packages are listed. The same
packages give the same bytes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]


def python_packages() -> Iterator[Json]:
    """The distributions that this Python finds."""
    for found in distributions():
        name, version = found.metadata["Name"], found.version
        yield _component(name, version, f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version)}", _license(found))


def debian_packages(status: str) -> Iterator[Json]:
    """The installed packages by dpkg's own list, a paragraph each."""
    for paragraph in status.strip().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if fields["Status"] == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
            yield _component(name, version, purl)


def document(subject: Json, parts: Iterable[Json]) -> Json:
    """The whole document; its time is SOURCE_DATE_EPOCH."""
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**subject, "type": "application"},
        },
        "components": sorted(parts, key=lambda component: str(component["purl"])),
    }


def _component(name: str, version: str, purl: str, license_: str = "") -> Json:
    made: Json = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return {**made, "licenses": [{"license": {"name": license_}}]} if license_ else made


def _license(found: Distribution) -> str:
    """One line: some packages put the whole text where its name belongs."""
    said = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
    return said if "\n" not in said else ""


def of_cloudroute(status: str) -> Json:
    """The image of controller and agent; `status` is dpkg's list."""
    python = {component["name"]: component for component in python_packages()}
    return document(python.pop("cloudroute"), [*python.values(), *debian_packages(status)])


if __name__ == "__main__":
    json.dump(of_cloudroute(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.stdout, indent=1)
