"""The leader: lease, loop, apply. It knows the outside only through `ports`.

process    the threads, and how they end
lease      who may write
loop       one snapshot, one plan, one apply, one sentence
ec2_cache  EC2 as this process knows it
apply      doing a plan: every step once its predecessors are done
backoff    which steps may not be tried now, and why
"""

from cloudroute.controller.lease import Lease, NoLease
from cloudroute.controller.loop import Loop, policy_of
from cloudroute.controller.process import Controller

__all__ = ["Controller", "Lease", "Loop", "NoLease", "policy_of"]
