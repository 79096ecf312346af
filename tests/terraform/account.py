"""An account with environments/test applied, and a cluster whose nodes are its instances."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import yaml

from cloudroute.crds import manifests
from cloudroute.lab.aws import ROOT_KEY, Aws
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.replica import clean_environment
from tests.terraform.kit import Terraform

ROOT = "environments/test"
COMMAND_SECONDS = 60.0


class Account:
    """A strict EC2 over HTTP that enforces IAM, and environments/test to be applied to it by its root user.

    `variables` are more of the environment's, as NAME=VALUE.
    """

    def __init__(self, terraform: Terraform, url: str, aws: Aws, variables: Sequence[str] = ()) -> None:
        self.aws = aws
        self.url = url
        self._terraform = terraform
        own = (f"endpoint={url}", f"access_key={ROOT_KEY}", "nat=single")
        self._variables = [f"-var={variable}" for variable in (*own, *variables)]

    def terraform(self, command: str, *words: str) -> str:
        """Run apply, plan or destroy, which must succeed."""
        return self._terraform.do(ROOT, command, "-no-color", *self._variables, *words)

    def outputs(self) -> Mapping[str, Any]:
        """Outputs of the applied environment."""
        return self._terraform.outputs(ROOT)

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client; root unless it has other credentials."""
        root = {"aws_access_key_id": ROOT_KEY, "aws_secret_access_key": "any"}
        session: Any = boto3.Session(region_name=self.aws.region)
        return session.client(service, endpoint_url=self.url, **(credentials or root))

    def assume(self, role_arn: str) -> dict[str, str]:
        """Credentials of a role, as boto3 takes them."""
        with closing(self.client("sts")) as sts:
            given = sts.assume_role(RoleArn=role_arn, RoleSessionName="controller")["Credentials"]
        return {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }

    def remains(self) -> dict[str, list[str]]:
        """Remaining resources in the account."""
        ec2 = self.aws.scene.ec2
        instances = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        with closing(self.client("iam")) as iam:
            roles = [role["RoleName"] for role in iam.list_roles()["Roles"]]
        return {
            "vpcs": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]],
            "instances": [i["InstanceId"] for i in instances if i["State"]["Name"] != "terminated"],
            "interfaces": [eni["NetworkInterfaceId"] for eni in ec2.describe_network_interfaces()["NetworkInterfaces"]],
            "addresses": [address["AllocationId"] for address in ec2.describe_addresses()["Addresses"]],
            "roles": roles,
        }


@contextmanager
def account(terraform: Terraform, *variables: str) -> Iterator[Account]:
    """A fresh account that is served until the end."""
    aws = Aws(enforce_iam=True)
    with aws.serve() as server:
        yield Account(terraform, server.url, aws, variables)


class Cluster:
    """An embedded Kubernetes with a Node for each applied instance, and cloudroute's commands, run by a role."""

    def __init__(self, folder: Path, applied: Mapping[str, Any], url: str, credentials: Mapping[str, str]) -> None:
        self.kube = KubeApi()
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for crd in manifests():
            self.kube.create(crd)
        for node in yaml.safe_load_all(applied["kubernetes_nodes"]):
            self.kube.create(node)
        self._server = self.kube.serve()
        self._flags = [
            f"--cluster-name={applied['cluster_name']}",
            f"--vpc-id={applied['vpc_id']}", f"--region={applied['region']}",
            *(f"--cluster-cidr={cidr}" for cidr in applied["cluster_cidrs"]),
            f"--kubeconfig={self._server.kubeconfig(folder / 'kubeconfig')}", "--listen=127.0.0.1:0",
            "--settle-seconds=0.1", "--drain-seconds=0.1",
        ]  # fmt: skip
        self._environment = {
            **clean_environment(),
            **{name.upper(): value for name, value in credentials.items()},
            "AWS_ENDPOINT_URL": url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def cloudroute(self, command: str, *flags: str) -> str:
        """Run a command of cloudroute that must succeed."""
        words = [sys.executable, "-m", "cloudroute", command, *self._flags, *flags]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def close(self) -> None:
        self._server.close()
