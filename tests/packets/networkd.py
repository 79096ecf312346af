"""The real systemd-networkd on a host in a namespace: with its own /run and /etc/systemd, and neither udev nor D-Bus.

networkd manages a device once udev knows it, and then removes what it has not made itself from it. So udev's database
(/run/udev/data) has an entry for each device.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from cloudroute.lab.hosts.netns import Namespace
from tests.required import lacking
from tests.waiting import eventually

BINARY = "/lib/systemd/systemd-networkd"
DEFAULTS = ""
AL2023 = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
"""Settings of EKS's AL2023 image: /etc/systemd/networkd.conf.d/80-release.conf (amazon-eks-ami, templates/al2023)."""
_START_SECONDS = 20.0
_NETWORK = """[Match]
Name=eth0
[Network]
IPv6AcceptRA=no
IPv6DuplicateAddressDetection=0
"""
_START = f"""
mount -t tmpfs none /run; mount -t tmpfs none /etc/systemd
mkdir -p /run/systemd /run/udev/data /etc/systemd/network /etc/systemd/networkd.conf.d
for index in /sys/class/net/*/ifindex; do echo I:1 >/run/udev/data/n$(cat $index); done
printf %s "$1" >/etc/systemd/network/80-ec2.network
printf %s "$2" >/etc/systemd/networkd.conf.d/80-release.conf
exec {BINARY}
"""


def require_networkd() -> None:
    """Skip, or fail, where systemd-networkd is missing."""
    if not Path(BINARY).exists() or shutil.which("unshare") is None:
        lacking("networkd")


class Networkd:
    """networkd on eth0 of a host, which keeps the addresses and default routes that it has there.

    `settings` is the text of a drop-in for networkd.conf; `log` a file.
    """

    def __init__(self, host: Namespace, settings: str, log: Path) -> None:
        self._host = host
        self._settings = settings
        self._log = log
        self._network = _NETWORK + _as_configured(host)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Networkd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it has configured eth0. Its log begins anew."""
        words = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", _START, "sh")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_LOG_LEVEL": "debug"}
        with self._log.open("wb") as log:
            argv = (*words, self._network, self._settings)
            self._process = self._host.popen(argv, env=environment, stdout=log, stderr=log)
        configured = "eth0: State changed: configuring -> configured"
        eventually(lambda: configured in self.says(), "eth0 is configured", _START_SECONDS, lambda: self.says()[-3000:])

    def stop(self) -> None:
        """SIGTERM, as systemd does."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(10) == 0, self.says()[-3000:]
            self._process = None

    def says(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def removed(self) -> list[str]:
        """Objects that it has removed since its start, in its log: "nexthop id: 44", "route dst: 10.99.0.0/16" ..."""
        found = re.findall(r"Removing foreign ([a-z ]+) \([a-z,]+\): ([^,]*)", self.says())
        return [f"{kind} {which}" for kind, which in found]


def _as_configured(host: Namespace) -> str:
    """The lines of [Network] for the addresses and gateways that eth0 has."""
    lines = []
    for family in ("-4", "-6"):
        addresses = host.run("ip", family, "-o", "address", "show", "dev", "eth0", "scope", "global").splitlines()
        gateways = host.run("ip", family, "route", "show", "default", "dev", "eth0").splitlines()
        lines += [f"Address={line.split()[3]}\n" for line in addresses]
        lines += [f"Gateway={line.split()[2]}\n" for line in gateways]
    return "".join(lines)
