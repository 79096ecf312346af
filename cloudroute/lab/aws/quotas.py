"""Entries that a route table may hold, and the answers of Service Quotas about them.

The enforced quota and the figure that Service Quotas answers are two things: a table's real limit may be lower than
the account's (AWS support raises them one by one), and GetServiceQuota answers only where a value was applied to the
account. Sources: "Amazon VPC quotas", API_GetServiceQuota and API_GetAWSDefaultServiceQuota.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.types import Family

SERVICE_CODE = "vpc"
QUOTA_CODE = "L-93826ACB"

# "AWS-managed prefix list weight" in "Work with AWS-managed prefix lists"; by the end of the list's name.
_WEIGHTS = {"cloudfront.origin-facing": 55, "groundstation": 5, "route53-healthchecks": 25, "vpc-lattice": 10}


class Quotas:
    """The account's quota of routes per route table, and the tables with a limit of their own."""

    def __init__(self, default: int, tables: Mapping[str, int]) -> None:
        self.default = default
        self.applied: int | None = None
        self.tables = dict(tables)

    def limit(self, table_id: str) -> int:
        """Return the number of entries of one family that the table may hold."""
        return self.tables.get(table_id, self.default if self.applied is None else self.applied)

    def answer(self, request: Request, region: str, account: str) -> dict[str, Any]:
        """Answer GetServiceQuota and GetAWSDefaultServiceQuota."""
        default = request.action == "GetAWSDefaultServiceQuota"
        value = self.default if default else self.applied
        if request.get("ServiceCode") != SERVICE_CODE or request.get("QuotaCode") != QUOTA_CODE or value is None:
            raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
        owner = "" if default else account
        quota = {
            "ServiceCode": SERVICE_CODE,
            "ServiceName": "Amazon Virtual Private Cloud (Amazon VPC)",
            "QuotaArn": f"arn:aws:servicequotas:{region}:{owner}:{SERVICE_CODE}/{QUOTA_CODE}",
            "QuotaCode": QUOTA_CODE,
            "QuotaName": "Routes per route table",
            "Value": float(value),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
        return {"Quota": quota}


def prefix_list_entries(prefix_list: Any) -> int:
    """Return the entries that a route to the list uses: its maximum, or the published weight if AWS manages it."""
    if prefix_list.max_entries is not None:
        return int(prefix_list.max_entries)
    return next((weight for name, weight in _WEIGHTS.items() if prefix_list.prefix_list_name.endswith(name)), 1)


def prefix_list_family(prefix_list: Any) -> Family:
    """Return the family whose quota the list counts against."""
    return "ipv6" if prefix_list.address_family == "IPv6" else "ipv4"
