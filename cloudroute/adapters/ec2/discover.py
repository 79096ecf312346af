"""Region and VPC where the settings name none.

The idea: a controller mostly runs on a node of its own cluster, so the instance metadata service (IMDS) of that node
knows the region. Where IMDS does not answer (a pod behind a hop limit of 1, a laptop), the nodes' zones give it. The
VPC is that of the nodes' instances; IMDS gives it only while there is no node, since a controller may run in another
VPC.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import boto3
from botocore.exceptions import BotoCoreError
from botocore.utils import IMDSFetcher, resolve_imds_endpoint_mode

from cloudroute.errors import UsageError

_ZONE = re.compile(r"(?P<region>[a-z]+(?:-[a-z]+)+?-\d+)(?:[a-z]|-[a-z0-9-]+)")
"""A zone's name is its region's and a letter (eu-central-1a), or more for a Local Zone (us-west-2-lax-1a) or a
Wavelength Zone (us-east-1-wl1-bos-wlz-1)."""


class _NoAnswer(Exception):
    """IMDS did not answer."""


class Imds(IMDSFetcher):
    """Facts about this machine from IMDSv2, "" for each that it does not tell.

    botocore's own fetcher brings token, timeouts (1 s), endpoint, IPv6 mode and AWS_EC2_METADATA_DISABLED, read as
    for credentials. IMDSv1 is never asked.
    """

    _RETRIES_EXCEEDED_ERROR_CLS = _NoAnswer

    def __init__(self, session: boto3.Session) -> None:
        settings = session._session  # boto3 has no public access to them
        super().__init__(
            timeout=settings.get_config_variable("metadata_service_timeout"),
            num_attempts=settings.get_config_variable("metadata_service_num_attempts"),
            env=os.environ,
            user_agent=settings.user_agent(),
            config={
                "ec2_metadata_service_endpoint": settings.get_config_variable("ec2_metadata_service_endpoint"),
                "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(settings),
                "ec2_metadata_v1_disabled": True,
            },
        )

    def region(self) -> str:
        """The region of this instance."""
        return self._ask("placement/region")

    def vpc_id(self) -> str:
        """The VPC of this instance's primary interface."""
        mac = self._ask("mac")
        return self._ask(f"network/interfaces/macs/{mac}/vpc-id") if mac else ""

    def _ask(self, path: str) -> str:
        try:
            token = self._fetch_metadata_token()  # type: ignore[attr-defined]  # botocore-stubs leave it out
            answer = self._get_request(f"latest/meta-data/{path}", None, token)  # type: ignore[attr-defined]  # so, too
        except (BotoCoreError, _NoAnswer):
            return ""
        return str(answer.text).strip()


def find_region(session: boto3.Session | None, zone_hints: Iterable[str]) -> str:
    """Return the region: boto3's own settings, else IMDS, else the zone of a node. Raises UsageError when none tells.

    `zone_hints` are names of availability zones, such as `types.Node.zone_hint`.
    """
    session = session or boto3.Session()
    # boto3 reads AWS_DEFAULT_REGION only; the other SDKs also read AWS_REGION, which EKS sets in pods.
    if configured := os.environ.get("AWS_REGION") or session.region_name or Imds(session).region():
        return configured
    for zone in zone_hints:
        if region := region_of(zone):
            return region
    raise UsageError(
        [
            "the AWS region is not known: neither the environment, the AWS configuration, the instance metadata service"
            " nor the zone of a node tells it; pass --region"
        ]
    )


def region_of(zone: str) -> str:
    """The region of a zone; "" when it is no AWS zone.

    >>> region_of("eu-central-1a"), region_of("us-west-2-lax-1a"), region_of("us-gov-west-1b"), region_of("nowhere")
    ('eu-central-1', 'us-west-2', 'us-gov-west-1', '')
    """
    found = _ZONE.fullmatch(zone)
    return found["region"] if found else ""


def find_vpc(session: boto3.Session | None) -> str:
    """The VPC of this machine by IMDS; "" where IMDS does not tell."""
    return Imds(session or boto3.Session()).vpc_id()
