"""Installs CNI plugins on a node, run by the init container of the agent's pod, which so needs no shell.

    python -m cloudroute.adapters.cni.install FROM TO

For each of our plugins TO, the folder of the container runtime, gets

    cloudroute/ptp           a copy of FROM/ptp; the image's next version replaces it
    ptp -> cloudroute/ptp    only where nothing has this name

A plugin of the node's own stays as it is, older or newer: those of distributions do not even tell their version
(Debian's: "CNI ptp plugin version unknown"). Each change is one system call, so a process that is killed leaves the
former plugin or the new one, and the next run does the rest. A node that has all of them is not written to.

Exit codes: 0 each name exists, 1 one is missing and could not be made, with a line of its reason.
"""

from __future__ import annotations

import os
import sys

from cloudroute.adapters.cni.files import replace
from cloudroute.adapters.cni.installed import PLUGINS
from cloudroute.core.words import one_line

FOLDER = "cloudroute"


def install(source: str, target: str) -> tuple[list[str], bool]:
    """Install the plugins that `target` lacks. Returns actions and failures, in words, and whether all exist now."""
    said = []
    for name in PLUGINS:
        try:
            said += [f"{target}/{name}: {done}" for done in _put(name, source, target)]
        except OSError as error:
            said.append(f"{target}/{name} can't be installed: {error}")
    return said, all(os.path.exists(f"{target}/{name}") for name in PLUGINS)


def _put(name: str, source: str, target: str) -> list[str]:
    """Install one plugin. Returns a word for each action taken; raises OSError."""
    link, ours, done = f"{target}/{name}", f"{FOLDER}/{name}", []
    there = os.path.lexists(link)
    if there and not (os.path.islink(link) and os.readlink(link) == ours):
        return []
    content = _content(f"{source}/{name}")
    path = f"{target}/{ours}"
    if not os.access(path, os.X_OK) or _content(path) != content:
        replace(path, content, mode=0o755)
        done.append("installed")
    if not there:
        os.symlink(ours, link)  # fails where another installer was faster
        done.append("linked")
    return done


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def main(source: str, target: str) -> int:
    """Install, and print actions and failures. Returns the exit code."""
    said, whole = install(source, target)
    for line in said:
        sys.stderr.write(f"{one_line(line)}\n")
    if not whole:
        sys.stderr.write("mount the folder writable, or install the plugins yourself and set agent.cniPlugins=false\n")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
