"""The leader: lease, loop, apply. It reaches EC2 and Kubernetes only through `ports`.

process    the threads, and how they end
lease      the right to write
loop       one snapshot, one plan, one apply, one sentence
ec2_cache  the last known state of EC2
apply      execution of a plan: each step once its predecessors are done
backoff    steps that may not be tried now, and why
"""

from cloudroute.controller.lease import Lease, NoLease
from cloudroute.controller.loop import Loop, policy_of
from cloudroute.controller.process import Controller

__all__ = ["Controller", "Lease", "Loop", "NoLease", "policy_of"]
