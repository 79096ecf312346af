"""The checks of `cloudroute doctor`: facts in, findings out, no I/O.

facts ──── independent facts: one that could not be read is Unknown, with the reason
checks ─── one function for each check; it takes facts and returns an Outcome
    cluster  leader  networks  aws  vpc  groups  control_plane  acls  instances  node
findings ─ a check that needs an Unknown fact ends as "not checked: <the reason>", and all others go on
report ─── the table for people
"""

from cloudroute.core.explain.doctor.examine import CHECKS, examine
from cloudroute.core.explain.doctor.facts import Facts
from cloudroute.core.explain.doctor.findings import Finding
from cloudroute.core.explain.doctor.report import lines

__all__ = ["CHECKS", "Facts", "Finding", "examine", "lines"]
