"""The network of a pod, as it sees it."""

from __future__ import annotations

from pathlib import Path

from cloudroute.types import FAMILIES
from tests.probe.net import ASKER, Net
from tests.probe.test_names import DOMAIN, conf


def test_a_pod_knows_its_own_network(hosts: Net, tmp_path: Path) -> None:
    (answer,) = hosts.ask({"kind": "self"}, resolv=conf(tmp_path, "10.96.0.10", "fd96::a", options="options ndots:5"))
    assert answer.pop("mtu").items() >= {"eth0": 1500, "lo": 65536}.items()
    assert answer == {
        "ok": True,
        "addresses": [ASKER[family] for family in FAMILIES],
        "gateway": {"ipv4": "10.1.0.1", "ipv6": "fd01::1"},
        "nameservers": ["10.96.0.10", "fd96::a"],
        "search": ["a.test", DOMAIN],
        "ndots": 5,
    }
