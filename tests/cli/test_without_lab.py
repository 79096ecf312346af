"""The production image has no lab: all other commands work without it, and its own say how to get it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cloudroute
from cloudroute.cli import commands
from cloudroute.lab.commands import COMMANDS as OF_LAB
from tests.cli.commands import environment

PACKAGE = Path(cloudroute.__file__).parent
EXTRA = ("moto", "flask", "flask_cors", "jsonschema", "jsonpatch")
"""Packages that only the lab needs, and that the image does not have."""
NEEDED = [command.name for command in commands() if command not in OF_LAB]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as deploy/Dockerfile installs it."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, folder / "cloudroute", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "cloudroute" / "lab")
    return folder


def python(installed: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code that finds the package there, and none of the lab's packages."""
    head = f"import sys; sys.modules.update(dict.fromkeys({EXTRA!r})); "
    line = [sys.executable, "-c", head + code, *words]
    env = environment({"PYTHONPATH": str(installed)})
    return subprocess.run(line, cwd=installed, env=env, capture_output=True, text=True, check=False)


def test_every_module_is_imported_without_the_lab(installed: Path) -> None:
    code = (
        "import importlib, pkgutil, cloudroute; "
        "found = [m.name for m in pkgutil.walk_packages(cloudroute.__path__, 'cloudroute.')]; "
        "[importlib.import_module(name) for name in found]; print(cloudroute.__file__, *found)"
    )
    done = python(installed, code)
    assert done.returncode == 0, done.stderr
    file, *modules = done.stdout.split()
    assert Path(file).parent == installed / "cloudroute"
    assert {"cloudroute.cli", "cloudroute.wiring", "cloudroute.adapters.ec2.client"} < set(modules)
    assert not [name for name in modules if ".lab" in name]


def test_every_other_command_answers_help_without_the_lab(installed: Path) -> None:
    code = """
from contextlib import suppress
from cloudroute.cli import commands, main
print(*(command.name for command in commands()), sep=",")
for command in commands():
    with suppress(SystemExit):
        main([command.name, "--help"])
main(["--help"])
"""
    done = python(installed, code)
    assert (done.returncode, done.stderr) == (0, "")
    names, _, helped = done.stdout.partition("\n")
    assert names.split(",") == NEEDED
    assert [name for name in NEEDED if f"usage: cloudroute {name} [flags]" not in helped] == []
    assert "cloudroute demo" not in helped


@pytest.mark.parametrize("words", [["demo"], ["demo", "--packets"], ["lab"], ["lab", "up"], ["lab", "--help"]])
def test_the_labs_commands_say_in_one_line_how_to_get_it(installed: Path, words: list[str]) -> None:
    done = python(installed, "from cloudroute.cli import main; sys.exit(main())", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "cloudroute: the lab is not installed here (cloudroute.lab is missing): on a machine of your own, "
        "pip install 'cloudroute[lab]', or '.[lab]' in a checkout\n"
    )


def test_a_missing_package_of_the_lab_is_said_in_the_same_words() -> None:
    done = python(PACKAGE.parent, "from cloudroute.cli import main; sys.exit(main())", "lab", "aws")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("cloudroute: the lab is not installed here (moto")
    assert "pip install 'cloudroute[lab]'" in line
