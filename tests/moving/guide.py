"""The commands of docs/moving, to be run as they are printed there."""

from __future__ import annotations

import re
from pathlib import Path

from cloudroute.lab.hosts.host import LabHost

_PAGES = Path(__file__).parents[2] / "docs" / "moving"


def script(page: str, heading: str) -> str:
    """The first block of shell below a heading of docs/moving/PAGE.md; LookupError if there is none."""
    text = (_PAGES / f"{page}.md").read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(?:(?!^## ).*\n)*?```sh\n((?:.*\n)*?)```", text, re.MULTILINE)
    if not found:
        raise LookupError(heading)
    return found[1]


def run(host: LabHost, commands: str) -> str:
    """Run a page's commands on a host of the lab, whose folders are not those of the machine."""
    here = {"/etc/cni/net.d": host.conf_dir, "/var/lib": host.runtime.var_lib, "/run/flannel": host.folder / "flannel"}
    placed = re.sub("|".join(here), lambda found: str(here[found[0]]), commands)
    return host.run("sh", "-ec", placed)
