"""Components that a developer's machine may lack: a test that needs one skips, or fails where it is required.

CLOUDROUTE_REQUIRE names them, separated by commas: apiserver, kubectl, ...
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import pytest

COMMANDS: Mapping[str, str] = {
    "apiserver": "make assets",
    "buildah": "apt-get install buildah mmdebstrap qemu-user-static arch-test, and be root",
    "chromium": "apt-get install chromium",
    "cni": "apt-get install containernetworking-plugins iptables iputils-ping",
    "coredns": "make assets",
    "git": "apt-get install git",
    "helm": "make helm",
    "kubectl": "make assets",
    "kubelet": "make assets, and apt-get install containerd runc busybox-static",
    "netns": "apt-get install iproute2, and be root on Linux",
    "networkd": "apt-get install systemd (nothing has to run)",
    "nftables": "apt-get install nftables iptables",
    "policies": "make assets",
    "setpriv": "apt-get install util-linux",
    "terraform": "https://developer.hashicorp.com/terraform/install (1.9 or newer, with the AWS provider)",
}
"""Component -> the command that brings it."""


def lacking(component: str, *problems: str) -> NoReturn:
    """End the test: `component` is not there. `problems` say more of it, if more is known."""
    message = f"{component} is missing: {COMMANDS[component]}" + "".join(f"; {problem}" for problem in problems)
    if component in os.environ.get("CLOUDROUTE_REQUIRE", "").split(","):
        pytest.fail(f"{message} (CLOUDROUTE_REQUIRE demands it)", pytrace=False)
    pytest.skip(message)


def summary(reasons: Iterable[str]) -> Iterator[str]:
    """A line for each missing component, then one for each other reason, with the number of tests that it kept back.

    >>> list(summary(["Skipped: helm is missing: make helm", "Skipped: this machine has no IPv6"]))
    ['1 test waits for helm: make helm', '1 test skipped: this machine has no IPv6']
    """
    texts = [reason.removeprefix("Skipped: ") for reason in reasons]
    components = Counter(text.partition(" is missing: ")[0] for text in texts if " is missing: " in text)
    for component, number in components.most_common():
        yield f"{number} test{' waits' if number == 1 else 's wait'} for {component}: {COMMANDS[component]}"
    for text, number in Counter(text for text in texts if " is missing: " not in text).most_common():
        yield f"{number} test{'' if number == 1 else 's'} skipped: {text}"
