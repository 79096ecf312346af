"""`cloudroute agent --cleanup`: removes everything of cloudroute from the kernel."""

from __future__ import annotations

from cloudroute.agent.sync import Done, Sync
from cloudroute.dataplane import KINDS
from cloudroute.errors import CloudrouteError
from cloudroute.ports import Kernel


def clean(kernel: Kernel) -> Done:
    """Remove conflist, nftables table, rules, routes, nexthops and devices; nothing foreign, and no sysctl.

    Sysctls keep the values that an agent has set, since other programs may rely on forwarding by now. Raises
    CloudrouteError when something could not be removed.
    """
    sync = Sync(kernel)
    done = sync.run(KINDS)
    if words := sync.failures(KINDS):
        raise CloudrouteError("not all could be removed: " + "; ".join(words))
    return done
