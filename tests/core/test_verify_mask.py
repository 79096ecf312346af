"""Names and ids that a report of `verify` must not tell."""

from __future__ import annotations

import pytest

from cloudroute.core.verify.mask import masked

CLUSTER = "0123456789ABCDEF0123456789ABCDEF"


@pytest.mark.parametrize(
    "name",
    [
        f"{CLUSTER}.gr7.eu-central-1.eks.amazonaws.com",
        f"{CLUSTER}.yl4.us-east-1.eks.amazonaws.com",
        f"{CLUSTER}.sk1.cn-north-1.eks.amazonaws.com.cn",
        f"{CLUSTER}.eks-cluster.eu-central-1.api.aws",
        f"{CLUSTER}.gr7.eks-cluster.eu-central-1.api.aws",
        f"{CLUSTER}.eks-cluster.cn-north-1.api.amazonwebservices.com.cn",
    ],
)
def test_the_endpoint_of_an_eks_cluster_is_masked_as_a_whole(name: str) -> None:
    """Its first part is the cluster's id. In lower case too, as a resolver may say it."""
    for said in (name, name.lower()):
        assert masked({"server": f"GET https://{said}:443/version: timeout"}) == {
            "server": "GET https://<endpoint-1>:443/version: timeout"
        }


@pytest.mark.parametrize("name", ["ec2.eu-central-1.api.aws", "ip-10-0-1-2.eu-central-1.compute.internal"])
def test_names_that_everybody_has_are_kept(name: str) -> None:
    """AWS's services, and the nodes, which a report is about."""
    assert masked([name]) == [name]


def test_equal_secrets_keep_one_number() -> None:
    """So that a reader sees that they are equal."""
    one, other = (f"{letter * 32}.eks-cluster.eu-central-1.api.aws" for letter in "AB")
    assert masked([one, other, one]) == ["<endpoint-1>", "<endpoint-2>", "<endpoint-1>"]
