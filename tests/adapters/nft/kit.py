"""A Ruleset to start from."""

from __future__ import annotations

from cloudroute.dataplane import Ruleset, packed
from cloudroute.types import Cidr


def cidrs(*texts: str) -> frozenset[Cidr]:
    return frozenset(map(Cidr.parse, texts))


RULESET = Ruleset(
    masquerade=True,
    pods=(Cidr.parse("10.244.7.0/24"), Cidr.parse("fd00:0:0:0:7::/80")),
    masqueraded=cidrs("10.0.32.0/30", "10.244.77.0/24", "fd00:0:0:0:77::/80"),
    networks=cidrs("10.244.0.0/16", "10.0.16.0/20", "10.0.32.0/20", "fd00::/48"),
    hosts=frozenset(map(packed, ("10.0.3.4", "10.0.32.3", "fc00::3:4"))),
    peers=cidrs("10.244.8.0/24", "10.244.9.0/24", "fd00:0:0:0:8::/80", "fd00:0:0:0:9::/80"),
    port=8472,
)
GATEWAY_RULESET = RULESET._replace(transit=cidrs("10.244.0.0/16", "fd00::/48"), interface="eth0")
