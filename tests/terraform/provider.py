"""Source of the AWS provider: a folder that has it already, else a normal `terraform init`.

A folder that Terraform can take providers from (a "filesystem mirror") holds them as
`<registry host>/hashicorp/aws/<version>/<platform>/`, or packed as
`<registry host>/hashicorp/aws/terraform-provider-aws_<version>_<platform>.zip`. Terraform's own cache is laid out like
the first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parents[2] / "terraform"


def wanted() -> str:
    """The versions of the provider that all folders ask for, as Terraform writes them."""
    text = (TREE / "environments" / "test" / "versions.tf").read_text()
    found = re.search(r'^ +version += "([^"]+)"', text, re.MULTILINE)
    assert found, "environments/test/versions.tf asks for no version"
    return found.group(1)


def is_wanted(version: str) -> bool:
    """Whether a released version, such as 5.100.0, is one of those.

    >>> [is_wanted(version) for version in ("5.99.1", "5.100.0", "6.23.0", "7.0.0", "6.0.0-beta1")]
    [False, True, True, False, False]
    """
    bounds = re.fullmatch(r">= ([0-9.]+), < ([0-9.]+)", wanted())
    assert bounds, f"{wanted()} is no range"
    lowest, beyond = (_numbers(bound) for bound in bounds.groups())
    return re.fullmatch(r"[0-9.]+", version) is not None and lowest <= _numbers(version) < beyond


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def find_mirror(platform: str) -> Path | None:
    """The first folder that has a wanted provider for a platform (linux_amd64), None if there is none."""
    return next((folder for folder in _folders() if any(map(is_wanted, _versions(folder, platform)))), None)


def _versions(folder: Path, platform: str) -> Iterator[str]:
    """The provider's versions that a folder has for a platform, unpacked or packed."""
    for path in folder.glob(f"*/hashicorp/aws/*/{platform}/terraform-provider-aws*"):
        yield path.parts[-3]
    for path in folder.glob(f"*/hashicorp/aws/terraform-provider-aws_*_{platform}.zip"):
        yield path.name.split("_")[1]


def _folders() -> Iterator[Path]:
    """Candidates: the configured cache, Terraform's implied mirrors ("Implied Local Mirror Directories"), /opt."""
    home = Path.home()
    if cache := os.environ.get("TF_PLUGIN_CACHE_DIR"):
        yield Path(cache)
    yield home / ".terraform.d" / "plugins"
    yield home / ".terraform.d" / "plugin-cache"
    yield Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "terraform" / "plugins"
    for shared in (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":"):
        yield Path(shared) / "terraform" / "plugins"
    yield from sorted(Path("/opt").glob("*"))


def own_cache() -> Path:
    """Cache folder for a downloaded provider."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudroute" / "terraform"
