"""Terraform as a process, on a copy of terraform/: its files stay out of the working tree."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.terraform.provider import find_mirror, own_cache

INIT_SECONDS = 600
"""Longest wait for `init`, which may have to download 100 MB."""
RUN_SECONDS = 600
"""Longest wait for anything else."""


def environment() -> dict[str, str]:
    """Environment of Terraform: this process's without credentials, AWS settings and variables that change a run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    # A configuration file says where providers come from; a name without a file is an error to Terraform.
    for name in ("TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR"):
        value = os.environ.get(name)
        if value and Path(value).exists():
            kept[name] = value
    return {
        **kept,
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Terraform:
    """The binary, the provider that it is given, and a copy of the tree to work in."""

    def __init__(self, binary: str, tree: Path) -> None:
        self.tree = tree
        self._binary = binary
        self._environment = environment()
        version = subprocess.run([binary, "version", "-json"], capture_output=True, env=self._environment, check=True)
        self._mirror = find_mirror(json.loads(version.stdout)["platform"])
        if self._mirror is None and "TF_PLUGIN_CACHE_DIR" not in self._environment:
            own_cache().mkdir(parents=True, exist_ok=True)
            self._environment["TF_PLUGIN_CACHE_DIR"] = str(own_cache())

    def run(self, folder: str, *words: str, seconds: float = RUN_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command in a folder of the tree, whatever its exit code; output is all in `stdout`."""
        return subprocess.run(
            [self._binary, f"-chdir={self.tree / folder}", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment, timeout=seconds,
        )  # fmt: skip

    def do(self, folder: str, *words: str) -> str:
        """Run a command that must succeed; returns its output."""
        done = self.run(folder, *words)
        assert done.returncode == 0, f"terraform {' '.join(words)} in {folder}:\n{done.stdout}"
        return done.stdout

    def init(self, folder: str) -> subprocess.CompletedProcess[str]:
        """Initialize a folder with the provider."""
        source = [f"-plugin-dir={self._mirror}"] if self._mirror else []
        return self.run(folder, "init", "-no-color", "-backend=false", *source, seconds=INIT_SECONDS)

    def outputs(self, folder: str) -> Mapping[str, Any]:
        """Outputs of an applied root, by name."""
        said = json.loads(self.do(folder, "output", "-json"))
        return {name: output["value"] for name, output in said.items()}
