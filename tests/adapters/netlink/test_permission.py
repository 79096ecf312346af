"""Without permission to change the kernel's tables the start fails, with the remedy in words."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.hosts import Namespace

TRY = "from cloudroute.adapters.netlink.netlink import Netlink\nNetlink()"
DROP = "import ctypes\nassert ctypes.CDLL(None).prctl(24, 12, 0, 0, 0) == 0\n"
"""PR_CAPBSET_DROP of CAP_NET_ADMIN: what is executed next lacks it."""


def test_without_net_admin_the_words_name_the_capability(host: Namespace) -> None:
    again = f"import os, sys\nos.execv(sys.executable, [sys.executable, '-c', {TRY!r}])"
    argv = ["ip", "netns", "exec", host.name, sys.executable, "-c", DROP + again]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cloudroute.errors.KernelError: the kernel does not permit it")
    assert "NET_ADMIN" in last


def test_with_it_nothing_is_said_and_nothing_is_changed(host: Namespace) -> None:
    before = host.run("ip", "link"), host.run("ip", "route"), host.run("ip", "nexthop")
    assert host.run(sys.executable, "-W", "error", "-c", TRY + ".close()") == ""
    assert before == (host.run("ip", "link"), host.run("ip", "route"), host.run("ip", "nexthop"))
