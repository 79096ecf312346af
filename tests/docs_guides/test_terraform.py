"""The READMEs below terraform/ list all inputs and outputs, and show complete module blocks."""

from __future__ import annotations

import hcl2
import pytest

from tests.docs.pages import Page
from tests.docs_guides import terraform

MODULES = [folder for folder in terraform.FOLDERS if folder.startswith("modules/")]


@pytest.mark.parametrize("folder", terraform.FOLDERS)
def test_inputs_and_outputs(folder: str) -> None:
    """As variables.tf and outputs.tf have them. If not: python -m tests.docs_guides.terraform --write"""
    assert terraform.written(folder) == terraform.tables(folder)


def wrong_inputs(folder: str, usage: str) -> set[str]:
    """Inputs that a `module` block lacks or that the module does not have."""
    variables = terraform.blocks(folder, "variable")
    (block,) = (body for one in hcl2.loads(usage)["module"] for body in one.values())
    given = {name for name in block if not name.startswith("__")} - {"source"}
    return (given - variables.keys()) | {name for name in variables if "default" not in variables[name]} - given


@pytest.mark.parametrize("folder", MODULES)
def test_usage_is_complete(folder: str) -> None:
    """Each module block has all required inputs, and only existing ones."""
    page = Page(folder, (terraform.TREE / folder / "README.md").read_text())
    usages = [block.text for block in page.blocks if block.language == "hcl"]
    assert usages
    assert [wrong_inputs(folder, usage) for usage in usages] == [set()] * len(usages)


def test_a_wrong_usage_is_noticed() -> None:
    """A name that is not there and one that is missing."""
    usage = 'module "network" {\n  source = "x"\n  cluster_name = "a"\n  zones = ["b"]\n  size = 1\n}\n'
    assert wrong_inputs("modules/network", usage) == {"size", "pod_cidrs"}
