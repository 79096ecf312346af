"""The lab's metadata service: tokens travel as far as the instance's options let them."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from cloudroute.lab.hosts.metadata import INSTANCE_ID, TOKEN, TOKEN_HEADER
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.program import METADATA
from tests.lab.hosts.vpc_lab import PREFIX, VpcLab, lab

__all__ = ["lab"]

PATIENCE = 0.5
NFT = (
    "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out masquerade"
)


@pytest.fixture
def pod(lab: VpcLab) -> Iterator[Namespace]:
    """A namespace behind the host a, which translates its address."""
    pod, host = Namespace(f"{PREFIX}pod"), lab.a.namespace
    pod.create()
    host.batch([f"link add veth0 type veth peer eth0 netns {pod.name}", "link set veth0 up"])
    host.batch(["address add 100.64.9.1/24 dev veth0"])
    pod.batch(["address add 100.64.9.2/24 dev eth0", "link set eth0 up", "route add default via 100.64.9.1"])
    host.sysctl({"net/ipv4/ip_forward": "1"})
    host.run("nft", NFT)
    yield pod
    pod.delete()


def ask(source: Namespace, method: str, path: str, token: str = "") -> tuple[int, str]:
    """Status and content; the status is 0 where nothing comes."""
    connection = http.client.HTTPConnection(METADATA, timeout=PATIENCE)
    try:
        with source.inside():
            connection.connect()
        connection.request(method, path, headers={TOKEN_HEADER: token})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except TimeoutError:
        return 0, ""
    finally:
        connection.close()


def test_a_pod_is_refused_and_gets_no_token_unless_there_are_two_hops(lab: VpcLab, pod: Namespace) -> None:
    host, instance = lab.a.namespace, lab.a.machine.id
    for source in (host, pod):
        assert ask(source, "GET", INSTANCE_ID)[0] == 401
    status, token = ask(host, "PUT", TOKEN)
    assert status == 200
    assert ask(pod, "PUT", TOKEN) == (0, "")
    for source in (host, pod):
        assert ask(source, "GET", INSTANCE_ID, token) == (200, instance)
    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=2)
    assert ask(pod, "PUT", TOKEN)[0] == 200
    lab.ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="optional")
    assert ask(pod, "GET", INSTANCE_ID) == (200, instance)
