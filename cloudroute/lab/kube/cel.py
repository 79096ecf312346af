"""The validation rules that cloudroute's CRDs use, looked up by their CEL text.

A real API server evaluates any CEL expression. This one knows the few below, each as a Python function, and refuses a
CustomResourceDefinition with any other: with a rule silently unchecked, tests would pass here and fail in a cluster.
A rule that mentions `oldSelf` is evaluated only when there is an old value, as CEL prescribes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any, Any], bool]
"""Takes `self` and `oldSelf`; returns whether the rule holds."""


def is_canonical_cidr(text: str) -> bool:
    """Whether it is a network as Kubernetes prints it: no host bits, IPv6 in its shortest form.

    >>> is_canonical_cidr("10.0.4.0/24"), is_canonical_cidr("10.0.4.7/24"), is_canonical_cidr("FD00::/64")
    (True, False, False)
    """
    try:
        return str(ipaddress.ip_network(text)) == text
    except ValueError:
        return False


def is_canonical_ip(text: str) -> bool:
    """Whether it is an address as Kubernetes prints it.

    >>> is_canonical_ip("fd00::1"), is_canonical_ip("fd00:0::1")
    (True, False)
    """
    try:
        return str(ipaddress.ip_address(text)) == text
    except ValueError:
        return False


def _families_differ(networks: list[str]) -> bool:
    return len(networks) < 2 or (":" in networks[0]) != (":" in networks[1])


RULES: Mapping[str, Rule] = {
    "self == oldSelf": lambda new, old: bool(new == old),
    "isCIDR(self) && string(cidr(self).masked()) == self": lambda new, _: is_canonical_cidr(new),
    "isIP(self) && ip.isCanonical(self)": lambda new, _: is_canonical_ip(new),
    "self.size() < 2 || cidr(self[0]).ip().family() != cidr(self[1]).ip().family()": lambda new, _: _families_differ(
        new
    ),
}
