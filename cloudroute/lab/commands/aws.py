"""`cloudroute lab aws`: the strict EC2 over HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import lab_extra
from cloudroute.commands.output import write_exactly
from cloudroute.commands.serving import EVERY_ADDRESS, listening, stop_on_signal
from cloudroute.config import Address, setting
from cloudroute.config.values import aws_region, listen_address, switch, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class LabAwsOptions:
    """Options that are flags only: a variable like CLOUDROUTE_LISTEN is meant for the controller beside the lab."""

    listen: Address = setting(  # noqa: RUF009 - setting() makes a dataclass field
        listen_address(), "Lab", "Where to answer; port 0 takes any free one.", default=Address("127.0.0.1", 5000)
    )
    region: str = setting(
        aws_region(),
        "Lab",
        "The region of the account.",
        default="eu-central-1",
    )
    route_quota: int = setting(
        whole(1, 1000), "Lab", "Entries that each route table may hold, per family.", default=50, unit="entries"
    )
    throttle: bool = setting(
        switch("on", "off"), "Lab", "Answer RequestLimitExceeded by AWS's own token buckets.", default=False, bare="on"
    )
    enforce_iam: bool = setting(
        switch("on", "off"), "Lab", "Allow a caller only what its IAM policies do.", default=False, bare="on"
    )


def run(invocation: Invocation) -> int:
    """Serve until a signal comes."""
    with lab_extra():
        from cloudroute.lab.aws import serve_forever  # only here: it loads moto

    options = invocation[LabAwsOptions]
    stop = threading.Event()
    stop_on_signal(stop)

    def announce(url: str, access_key: str) -> None:
        write_exactly(
            f"export AWS_ENDPOINT_URL={url} AWS_REGION={options.region} AWS_DEFAULT_REGION={options.region}\n"
            f"export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY=any\n"
        )

    with listening(options.listen):
        serve_forever(
            str(options.listen._replace(host=options.listen.host or EVERY_ADDRESS)),
            region=options.region,
            route_quota=options.route_quota,
            throttle=options.throttle,
            enforce_iam=options.enforce_iam,
            announce=announce,
            stop=stop,
        )
    return 0


COMMAND = Command(
    name="lab aws",
    summary="serve an EC2 API that behaves as AWS documents it, to try things on",
    text=(
        "Serves an empty AWS account: EC2 (VPCs, subnets, route tables, instances, interfaces), IAM, STS and Service "
        "Quotas, as strict as AWS's own - quotas, blackholes, validation, error codes. boto3, the aws CLI, Terraform "
        "and cloudroute use it by an endpoint URL, with any secret. It prints the variables to set, and ends with "
        "Ctrl-C; nothing is kept."
    ),
    example=(
        "cloudroute lab aws --listen 127.0.0.1:5000 > aws.env & until [ -s aws.env ]; do sleep 1; done\n"
        ". ./aws.env; aws ec2 create-vpc --cidr-block 10.0.0.0/16"
    ),
    run=run,
    kinds=(LabAwsOptions,),
)
