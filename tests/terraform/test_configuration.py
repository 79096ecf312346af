"""Every module and root is well-formed, valid, described, and passes its own tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.terraform.kit import Terraform
from tests.terraform.provider import TREE, wanted

FOLDERS = sorted(
    {str(path.parent.relative_to(TREE)) for path in TREE.rglob("versions.tf") if ".terraform" not in path.parts}
)
_BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def files(folder: str) -> list[Path]:
    return sorted((TREE / folder).glob("*.tf"))


def test_all_folders_are_there() -> None:
    """The tree holds what the documentation names."""
    assert FOLDERS == [
        "environments/test",
        "examples/eks",
        "examples/self-managed",
        "modules/iam",
        "modules/network",
        "modules/nodes",
    ]


def test_formatted(terraform: Terraform) -> None:
    """`terraform fmt` has nothing to change."""
    terraform.do(".", "fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("folder", FOLDERS)
def test_valid(terraform: Terraform, folder: str) -> None:
    """Each folder initializes, is valid without a warning, and passes its tests, which validate it, too."""
    done = terraform.init(folder)
    assert done.returncode == 0, done.stdout
    tested = (TREE / folder / "tests").is_dir()
    said = terraform.do(folder, "test" if tested else "validate", "-no-color")
    assert "Warning" not in said
    assert ", 0 failed" in said or not tested


@pytest.mark.parametrize("folder", FOLDERS)
def test_described(folder: str) -> None:
    """Each variable has a type and a description, each output a description, and there is a README."""
    blocks = [block for path in files(folder) for block in _BLOCK.findall(path.read_text())]
    assert blocks
    lacking = [name for kind, name, body in blocks if "\n  description" not in "\n" + body]
    lacking += [name for kind, name, body in blocks if kind == "variable" and "\n  type" not in "\n" + body]
    assert lacking == []
    assert (TREE / folder / "README.md").is_file()


@pytest.mark.parametrize("folder", FOLDERS)
def test_provider(folder: str) -> None:
    """All folders ask for the same range of providers, so that any of them can be used together."""
    versions = re.findall(r'^ +version = "([^"]+)"', (TREE / folder / "versions.tf").read_text(), re.MULTILINE)
    assert versions == [wanted()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_leaves_the_controller_alone(folder: str) -> None:
    """No table has inline routes, which would remove the controller's, and no instance sets its source/dest check."""
    for path in files(folder):
        text = re.sub(r"#.*", "", path.read_text())
        assert not re.search(r"^\s+route\s*(\{|=)", text, re.MULTILINE), path
        assert not re.search(r"source_dest_check\s*=", text), path
