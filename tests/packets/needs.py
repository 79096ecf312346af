"""What beyond namespaces a test with packets needs."""

from __future__ import annotations

import shutil

from cloudroute.adapters.cni import find_plugins
from tests.required import lacking


def require_nftables() -> None:
    """Skip, or fail, where nft is missing."""
    if shutil.which("nft") is None:
        lacking("nftables", "install nftables (Debian: nftables)")


def require_cni() -> None:
    """Skip, or fail, where the CNI plugins are missing."""
    found, _ = find_plugins()
    if not {"ptp", "host-local", "portmap", "bandwidth"} <= set(found):
        lacking("cni", "install the CNI plugins (Debian: containernetworking-plugins)")
