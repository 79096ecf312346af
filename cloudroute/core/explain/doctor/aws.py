"""Checks of the credentials, and of the permission for each call of the controller."""

from __future__ import annotations

from collections.abc import Callable

from cloudroute.core.explain.doctor.cluster import clock
from cloudroute.core.explain.doctor.facts import Facts
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, failed, known, ok, warning

ACTIONS: dict[str, str] = {
    "ec2:DescribeRouteTables": "without it nothing is known of the tables, and nothing is done",
    "ec2:DescribeInstances": "without it no node's network interface is known, and nothing is done",
    "ec2:DescribeSubnets": "without it nothing is known of the subnets, and nothing is done",
    "ec2:DescribeManagedPrefixLists": "without it a routed prefix list counts as one entry, however long it is",
    "ec2:CreateRoute": "without it nodes get no routes, and the overlay carries everything",
    "ec2:ReplaceRoute": "without it a pod CIDR that moves to another instance keeps leading to the old one",
    "ec2:DeleteRoute": "without it the routes of nodes that have gone fill the table",
    "ec2:ModifyNetworkInterfaceAttribute": "while the source/dest check is on, EC2 drops pods' packets",
    "servicequotas:GetServiceQuota": "without it --route-limit auto does not know the limit, and takes 50",
    "servicequotas:GetAWSDefaultServiceQuota": "as GetServiceQuota, where the account has no quota of its own",
}
"""IAM action of each call of the controller, with the effect of its refusal."""
NO_CREDENTIALS = "AWS could not be asked (see credentials)"
NO_REGION = "no region is known (see region)"
_DISPENSABLE = ("ec2:DescribeManagedPrefixLists", "servicequotas:GetServiceQuota")
_DEFAULT_QUOTA = "servicequotas:GetAWSDefaultServiceQuota"


def _credentials(facts: Facts) -> Outcome:
    try:
        return ok(known(facts.aws.identity))
    except Lacking as lacking:
        if lacking.why == NO_REGION:
            raise
        return failed(
            lacking.why.partition(". Give the controller")[0],
            "give it AWS credentials: see deploy/iam/README.md; on a laptop AWS_PROFILE, or `aws sso login`",
        )


def _region(facts: Facts) -> Outcome:
    try:
        return ok(known(facts.aws.region))
    except Lacking as lacking:
        if lacking.why == NO_CREDENTIALS:
            raise
        return failed(lacking.why, "pass --region")


def _may(action: str) -> Callable[[Facts], Outcome]:
    def look(facts: Facts) -> Outcome:
        if action.startswith("servicequotas:") and facts.route_limit != "auto":
            raise Lacking(f"not needed with --route-limit {facts.route_limit}")
        refusal = known(facts.aws.refusals.get(action, ""))
        if not refusal:
            return ok("allowed")
        make = warning if action in (*_DISPENSABLE, _DEFAULT_QUOTA) else failed
        return make(
            refusal, f"allow {action} for {known(facts.aws.identity)}: deploy/iam/policy.json has all that is needed"
        )

    return look


def _quota(facts: Facts) -> Outcome:
    quota = known(facts.aws.quota)
    limit = facts.route_limit
    if limit == "auto":
        return ok(f"AWS allows {quota} routes per table, and --route-limit auto takes all of them")
    if limit > quota:
        return warning(
            f"AWS allows {quota} routes per table, --route-limit says {limit}",
            f"set --route-limit {quota}, or have the quota L-93826ACB of Amazon VPC raised",
        )
    if limit < quota:
        return ok(f"AWS allows {quota} routes per table, of which --route-limit takes {limit}")
    return ok(f"AWS allows {quota} routes per table, as --route-limit says")


def _clock(facts: Facts) -> Outcome:
    return clock(known(facts.aws.seconds_ahead), "AWS's")


CHECKS: tuple[Check[Facts], ...] = (
    Check("AWS", "credentials", "without credentials that are valid now, AWS answers nothing", _credentials),
    Check("AWS", "region", "VPC and instances are looked for in one region", _region),
    Check("AWS", "clock", "AWS refuses signatures that are five minutes off", _clock),
    *(Check("AWS", action, why, _may(action)) for action, why in ACTIONS.items()),
    Check("AWS", "quota", "past what AWS allows, each attempt is refused; below it, nodes use the overlay", _quota),
)
