"""Where the AWS provider comes from, on whatever machine: a folder that has it already, else a normal `terraform init`.

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


def pinned_version() -> str:
    """The provider's version that all roots ask for."""
    found = re.search(r'version = "([0-9.]+)"', (TREE / "environments" / "test" / "versions.tf").read_text())
    assert found, "environments/test/versions.tf pins no version"
    return found.group(1)


def find_mirror(platform: str) -> Path | None:
    """The first folder that has the provider for a platform (linux_amd64), None if there is none."""
    version = pinned_version()
    patterns = (
        f"*/hashicorp/aws/{version}/{platform}/terraform-provider-aws*",
        f"*/hashicorp/aws/terraform-provider-aws_{version}_{platform}.zip",
    )
    return next((folder for folder in _folders() if any(any(folder.glob(pattern)) for pattern in patterns)), None)


def _folders() -> Iterator[Path]:
    """A cache that is set, Terraform's implied mirrors ("Implied Local Mirror Directories"), what was put into /opt."""
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
    """Where a provider that had to be downloaded is kept for the next time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudroute" / "terraform"
