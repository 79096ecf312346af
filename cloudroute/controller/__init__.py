"""The leader: lease, loop, apply. It reaches EC2 and Kubernetes only through `ports`.

process        the threads, and how they end
lease          the right to write
loop           pacing: when the next cycle starts
  reconciler     one cycle: one snapshot, one plan, one apply, one sentence
    reader         the snapshot: the cluster's stores, and EC2 as far as reads are due
      ec2_cache      the last known state of EC2, with our own writes
        lookups        ids that EC2 was asked for: when to ask again
    apply          execution of a plan
      order          predecessors first, and one step at a time in each lane
      backoff        steps that may not be tried now, and why
    announce       the outcome as log lines, Events and metrics, and on the status page
      status_page    answers of the page and /api/status
"""

from cloudroute.controller.lease import Lease, NoLease
from cloudroute.controller.loop import Loop
from cloudroute.controller.process import Controller
from cloudroute.controller.reader import policy_of

__all__ = ["Controller", "Lease", "Loop", "NoLease", "policy_of"]
