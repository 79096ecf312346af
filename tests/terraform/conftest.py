"""One Terraform for the session, if this machine has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.required import lacking
from tests.terraform.kit import Terraform
from tests.terraform.provider import TREE, wanted

PROBE = "environments/test"


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform, if this machine has it."""
    return find_terraform(tmp_path_factory.mktemp("terraform"))


def find_terraform(folder: Path) -> Terraform:
    """Terraform with the AWS provider, on a copy of the tree in which environments/test is initialized."""
    binary = shutil.which("terraform")
    if binary is None:
        lacking("terraform")
    tree = folder / "terraform"
    shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    found = Terraform(binary, tree)
    done = found.init(PROBE)
    if done.returncode:
        where = "put it into ~/.terraform.d/plugins, or let `terraform init` reach its registry"
        lacking("terraform", f"no AWS provider {wanted()} can be had: {where}")
    return found
