"""DNS: by which server and under which name a name is found, and the codes of failures."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.resolver import Resolver
from cloudroute.probe.dns import records
from cloudroute.probe.failure import Failed
from cloudroute.probe.serve import PORT
from cloudroute.types import Family
from tests.probe.net import FAR, SECOND, SILENT, Net

DOMAIN = "eu-central-1.compute.internal"
NAME = f"ip-10-0-3-4.{DOMAIN}"
LIBRARY_SECONDS = 5.0
"""In which the C library has asked a silent server once (resolv.conf(5): timeout)."""


@pytest.fixture(scope="module")
def resolver(hosts: Net) -> Iterator[None]:
    """The lab's: it knows the names of instances, as A records alone."""
    server = Resolver(Namespace(hosts.far.name), (FAR["ipv4"], FAR["ipv6"]))
    yield
    server.close()


def conf(folder: Path, *servers: str, options: str = "") -> Path:
    path = folder / "resolv.conf"
    path.write_text("".join(f"nameserver {server}\n" for server in servers) + f"search a.test {DOMAIN}\n{options}\n")
    return path


@pytest.mark.usefixtures("resolver")
def test_a_named_server_is_asked(hosts: Net, family: Family) -> None:
    server = FAR[family]
    answers = hosts.ask(
        {"kind": "dns", "server": server, "name": f"{NAME}."},
        {"kind": "dns", "server": server, "name": f"{NAME}.", "type": "AAAA"},
        {"kind": "dns", "server": server, "name": "nobody.test."},
        {"kind": "dns", "server": SECOND[family], "name": f"{NAME}."},
        {"kind": "dns", "server": SILENT[family], "name": f"{NAME}.", "timeout": 0.3},
    )
    found = {"ok": True, "server": server, "name": NAME, "rcode": 0}
    assert answers[0] == {**found, "addresses": ["10.0.3.4"]}
    assert answers[1] == {**found, "addresses": []}
    asked = {"server": server, "name": "nobody.test", "rcode": 3}
    words = f"{server} answers NXDOMAIN for nobody.test"
    assert answers[2] == {"ok": False, "error": words, "code": "dns", **asked}
    assert [answer["code"] for answer in answers[3:]] == ["refused", "timeout"]


@pytest.mark.usefixtures("resolver")
def test_the_search_list_is_gone_through(hosts: Net, tmp_path: Path) -> None:
    """A short name gets each domain; one with as many dots as `ndots` is first asked for as it is."""
    short, full = hosts.ask(
        {"kind": "dns", "name": "ip-10-0-3-4"}, {"kind": "dns", "name": NAME}, resolv=conf(tmp_path, FAR["ipv4"])
    )
    assert (short["name"], full["name"]) == (NAME, NAME)
    absent = hosts.ask({"kind": "dns", "name": "web.ns"}, resolv=conf(tmp_path, FAR["ipv4"], options="options ndots:5"))
    assert (absent[0]["code"], absent[0]["name"], absent[0]["rcode"]) == ("dns", "web.ns", 3)


@pytest.mark.usefixtures("resolver")
def test_the_next_server_is_asked_when_one_is_away(hosts: Net, tmp_path: Path) -> None:
    question = {"kind": "dns", "name": f"{NAME}.", "timeout": 0.3}
    for away in (SILENT["ipv4"], SECOND["ipv6"]):
        (answer,) = hosts.ask(question, resolv=conf(tmp_path, away, FAR["ipv6"]))
        assert (answer["server"], answer["addresses"]) == (FAR["ipv6"], ["10.0.3.4"])
    (answer,) = hosts.ask(question, resolv=conf(tmp_path, SECOND["ipv4"], SILENT["ipv6"]))
    assert answer["code"] == "timeout"
    (answer,) = hosts.ask(question, resolv=conf(tmp_path))
    assert (answer["code"], answer["error"]) == ("dns", "resolv.conf has no nameserver")


@pytest.mark.usefixtures("resolver")
def test_a_connection_to_a_name_waits_no_longer_for_its_address_than_it_is_told(hosts: Net, tmp_path: Path) -> None:
    """The name is a full one: the search list, which would be asked for nothing, is not."""
    name = f"ip-{FAR['ipv4'].replace('.', '-')}.{DOMAIN}"
    question = {"kind": "connect", "address": name, "port": PORT, "timeout": 0.3}
    (answer,) = hosts.ask(question, resolv=conf(tmp_path, FAR["ipv4"], options="options ndots:5"))
    assert answer["ok"], answer
    began = time.monotonic()
    (answer,) = hosts.ask(question, resolv=conf(tmp_path, SILENT["ipv4"], SILENT["ipv6"]))
    assert time.monotonic() - began < LIBRARY_SECONDS
    assert (answer["code"], answer["error"]) == ("dns", f"{name} is not resolved: no answer in time")


def test_records_follow_compressed_names() -> None:
    """A CNAME whose data is a pointer, then an AAAA record under a name of labels and a pointer."""
    address = bytes.fromhex("fd09") + bytes(13) + b"\x09"
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x10"
    answer = alias + b"\3web\xc0\x10" + struct.pack("!HHIH", 28, 1, 60, 16) + address
    assert records(bytes(12) + answer, 12, 2) == [(5, b"\xc0\x10"), (28, address)]
    with pytest.raises(Failed, match="cut off"):
        records(bytes(12) + answer[:20], 12, 2)
