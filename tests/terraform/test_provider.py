"""Lookup of the AWS provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terraform.kit import environment
from tests.terraform.provider import find_mirror

PLATFORM = "plan9_mips"
"""A platform that no machine here has, so that only folders of the test are found."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with nothing in it."""
    for name in ("TF_PLUGIN_CACHE_DIR", "XDG_DATA_HOME", "XDG_DATA_DIRS", "TF_CLI_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(mirror: Path, version: str = "5.100.0", platform: str = PLATFORM) -> None:
    folder = mirror / "registry.example.com" / "hashicorp" / "aws" / version / platform
    folder.mkdir(parents=True)
    (folder / "terraform-provider-aws_x5").touch()


def test_nowhere() -> None:
    """Without a mirror none is found, and Terraform downloads it."""
    assert find_mirror(PLATFORM) is None


@pytest.mark.parametrize("place", [".terraform.d/plugins", ".local/share/terraform/plugins"])
def test_implied_mirrors(home: Path, place: str) -> None:
    """An implied mirror of Terraform is found, with any registry name."""
    put(home / place)
    assert find_mirror(PLATFORM) == home / place


def test_newer_ones(home: Path) -> None:
    """Any version of the range is found, beside others."""
    put(home / ".terraform.d" / "plugins", version="7.0.0")
    put(home / ".terraform.d" / "plugins", version="6.23.0")
    assert find_mirror(PLATFORM) == home / ".terraform.d" / "plugins"


def test_packed(home: Path) -> None:
    """A packed provider is found."""
    folder = home / ".terraform.d" / "plugins" / "registry.example.com" / "hashicorp" / "aws"
    folder.mkdir(parents=True)
    (folder / f"terraform-provider-aws_5.100.0_{PLATFORM}.zip").touch()
    assert find_mirror(PLATFORM) == home / ".terraform.d" / "plugins"


def test_others_do_not_count(home: Path) -> None:
    """Versions outside the range and other platforms are ignored."""
    put(home / ".terraform.d" / "plugins", version="5.99.1")
    put(home / ".terraform.d" / "plugins", version="7.0.0")
    put(home / ".terraform.d" / "plugins", platform="linux_6502")
    assert find_mirror(PLATFORM) is None


def test_a_cache_comes_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF_PLUGIN_CACHE_DIR comes first."""
    put(home / ".terraform.d" / "plugins")
    put(tmp_path / "cache")
    monkeypatch.setenv("TF_PLUGIN_CACHE_DIR", str(tmp_path / "cache"))
    assert find_mirror(PLATFORM) == tmp_path / "cache"


def test_settings_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing configuration file is kept; credentials and the user's variables are not."""
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "missing"))
    monkeypatch.setenv("TF_VAR_nat", "none")
    monkeypatch.setenv("AWS_PROFILE", "production")
    assert not {"TF_CLI_CONFIG_FILE", "TF_VAR_nat", "AWS_PROFILE"} & set(environment())
    (tmp_path / "missing").touch()
    assert environment()["TF_CLI_CONFIG_FILE"] == str(tmp_path / "missing")
