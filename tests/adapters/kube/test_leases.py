"""The Lease as the fence needs it: requests time out soon, and a newer version is never overwritten."""

from __future__ import annotations

import time

import pytest

from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.adapters.kube.transport import Transport
from cloudroute.errors import LostRace, Refused, Unreachable
from cloudroute.lab.kube import KubeApi
from cloudroute.types import LeaseRecord

RECORD = LeaseRecord("a", 15, "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z", 0)


@pytest.fixture
def leases(api: KubeApi, transport: Transport) -> KubeLeases:
    return KubeLeases(transport, "default", "cloudroute", timeout=0.3)


def test_a_lease_that_is_not_there_is_none(leases: KubeLeases) -> None:
    """A missing Lease is read as None."""
    assert leases.read() is None


def test_a_written_lease_is_read(api: KubeApi, leases: KubeLeases) -> None:
    """Created, renewed and released records are read back equal, with microseconds."""
    created = leases.write(RECORD)
    assert leases.read() == created
    released = leases.write(LeaseRecord("", 1, RECORD.acquire_time, "2026-01-01T00:00:02.000000Z", 3, created.version))
    assert leases.read() == released
    assert (released.holder, released.duration_seconds, released.transitions) == ("", 1, 3)
    spec = api.get("leases", "cloudroute", "default")["spec"]
    assert spec["renewTime"] == "2026-01-01T00:00:02.000000Z"


def test_a_missing_namespace_is_told_with_its_remedy(transport: Transport) -> None:
    """A missing namespace is a refusal with its remedy, not a lost race."""
    with pytest.raises(Refused, match="kubectl create namespace nowhere"):
        KubeLeases(transport, "nowhere", "cloudroute", timeout=0.3).write(RECORD)


def test_the_second_of_two_writers_loses(api: KubeApi, leases: KubeLeases) -> None:
    """Creating over a Lease and replacing an old version of it are lost races; the first writer's record stays."""
    created = leases.write(RECORD)
    with pytest.raises(LostRace):
        leases.write(LeaseRecord("b", 15, "", "", 0))
    leases.write(created)
    api.patch("leases", "cloudroute", {"spec": {"holderIdentity": "c"}}, "default")
    with pytest.raises(LostRace):
        leases.write(created)
    assert api.get("leases", "cloudroute", "default")["spec"]["holderIdentity"] == "c"


def test_a_lease_without_a_spec_is_free(api: KubeApi, leases: KubeLeases) -> None:
    """A Lease without a spec counts as free, and can be acquired."""
    api.create(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "cloudroute", "namespace": "default"},
        }
    )
    found = leases.read()
    assert found is not None
    assert (found.holder, found.duration_seconds, found.renew_time, found.transitions) == ("", 0, "", 0)
    assert leases.write(LeaseRecord("a", 15, RECORD.acquire_time, "", 1, found.version)).holder == "a"


def test_a_server_that_hangs_costs_the_timeout_and_no_more(api: KubeApi, leases: KubeLeases) -> None:
    """A request to a server that hangs ends with its timeout, a third of the renew deadline."""
    api.faults.hang("get", "leases")
    started = time.monotonic()
    with pytest.raises(Unreachable):
        leases.read()
    assert time.monotonic() - started < 1
