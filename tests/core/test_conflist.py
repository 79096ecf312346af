"""The CNI configuration that the container runtime reads."""

from __future__ import annotations

import ipaddress
import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.node.conflist import conflist
from cloudroute.core.node.peers import gateway
from cloudroute.types import Cidr

V4 = Cidr.parse("10.244.3.0/24")
V6 = Cidr.parse("fd00:10:244:3::/80")


def read(content: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def test_the_whole_file_of_a_node_with_both_families() -> None:
    """Every field that the plugins are given, and no other."""
    assert read(conflist([V4, V6], 8951, {"ptp", "host-local", "loopback", "tuning", "portmap", "bandwidth"})) == {
        "cniVersion": "1.0.0",
        "name": "cloudroute",
        "plugins": [
            {"type": "loopback"},
            {"type": "tuning", "sysctl": {"net.ipv6.conf.default.accept_dad": "0"}},
            {
                "type": "ptp",
                "mtu": 8951,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [
                        [{"subnet": "10.244.3.0/24", "gateway": "10.244.3.1"}],
                        [{"subnet": "fd00:10:244:3::/80", "gateway": "fd00:10:244:3::1"}],
                    ],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ],
    }


def test_a_family_that_the_node_lacks_is_not_routed() -> None:
    """A pod without an IPv6 address has no IPv6 default route, and the other way round."""
    for cidr, everywhere in ((V4, "0.0.0.0/0"), (V6, "::/0")):
        ipam = read(conflist([cidr], 1450, ()))["plugins"][0]["ipam"]
        assert [entry["subnet"] for (entry,) in ipam["ranges"]] == [str(cidr)]
        assert ipam["routes"] == [{"dst": everywhere}]


def test_a_plugin_that_the_node_lacks_is_not_chained() -> None:
    """The others than ptp and host-local appear only where they are: a missing one would fail every pod."""
    for present in itertools.product((True, False), repeat=2):
        names = [name for name, there in zip(("portmap", "bandwidth"), present, strict=True) if there]
        content = read(conflist([V4], 1450, ["ptp", "host-local", *names]))
        assert [plugin["type"] for plugin in content["plugins"]] == ["ptp", *names]
    for half in ("loopback", "tuning"):
        assert [plugin["type"] for plugin in read(conflist([V6], 1450, [half]))["plugins"]] == ["ptp"]


def test_without_ipv6_nothing_is_done_about_duplicate_address_detection() -> None:
    """A kernel without IPv6 has no such setting, and tuning would fail every pod."""
    content = read(conflist([V4], 1450, ["loopback", "tuning"]))
    assert [plugin["type"] for plugin in content["plugins"]] == ["ptp"]


def test_the_same_node_gives_the_same_bytes() -> None:
    """The order in which plugins were found changes nothing: a file that differs would be written again and again."""
    first = conflist([V4, V6], 8951, ["portmap", "tuning", "bandwidth", "loopback"])
    assert conflist([V4, V6], 8951, {"loopback", "bandwidth", "tuning", "portmap"}) == first
    assert first.endswith(b"}\n")


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), st.integers(8, 30))
def test_the_gateway_is_the_first_address_of_the_range(address: bytes, length: int) -> None:
    """In both families, and inside of the range that the file gives."""
    network = ipaddress.ip_network((address, length), strict=False)
    cidr = Cidr.parse(str(network))
    ((given_range,),) = read(conflist([cidr], 1450, ()))["plugins"][0]["ipam"]["ranges"]
    assert ipaddress.ip_network(given_range["subnet"]) == network
    assert ipaddress.ip_address(given_range["gateway"]) == network[1] == ipaddress.ip_address(gateway(cidr))
