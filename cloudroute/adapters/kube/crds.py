"""Check at start that the API server serves our two kinds.

It reads discovery and not the CustomResourceDefinition objects, since every authenticated user may read it.
"""

from __future__ import annotations

from cloudroute.adapters.kube.project import GROUP_VERSION
from cloudroute.adapters.kube.transport import Transport
from cloudroute.errors import CloudrouteError, LostRace
from cloudroute.ports import Clock

KINDS = ("noderoutes", "routetables")
PATIENCE_SECONDS = 5.0
"""Seconds to wait for the kinds: a CRD that was just applied is served about a second later."""


def check(transport: Transport, clock: Clock) -> None:
    """Raise CloudrouteError when a kind is not served, ApiError when the API server can't be asked."""
    deadline = clock.monotonic() + PATIENCE_SECONDS
    while missing := _missing(transport):
        if clock.monotonic() >= deadline:
            names = " and ".join(f"{kind}.{GROUP_VERSION}" for kind in missing)
            raise CloudrouteError(
                f"{transport.url} does not serve {names}: install the CRDs with `cloudroute crd | kubectl apply -f -`"
            )
        clock.sleep(0.25)


def _missing(transport: Transport) -> list[str]:
    try:
        served = transport.request("GET", f"/apis/{GROUP_VERSION}").get("resources") or ()
    except LostRace:  # 404: the whole group is missing
        return list(KINDS)
    names = {resource.get("name") for resource in served}
    return [kind for kind in KINDS if kind not in names]
