# The controller's permissions, and a role that carries them. The agents call no AWS API and need none.
#
# The documents are those of deploy/iam, filled in; a test compares them.

locals {
  # arn:<partition>:ec2:<region>:<account>:vpc/<id>
  ec2 = join(":", slice(split(":", var.vpc_arn), 0, 5))
}

data "aws_iam_policy_document" "controller" {
  # EC2 lets no describe be narrowed.
  statement {
    sid = "Read"
    actions = [
      "ec2:DescribeInstances",
      "ec2:DescribeManagedPrefixLists",
      "ec2:DescribeRouteTables",
      "ec2:DescribeSubnets",
      # Only with --route-limit auto. The first answers only where a value was applied to the account.
      "servicequotas:GetAWSDefaultServiceQuota",
      "servicequotas:GetServiceQuota",
    ]
    resources = ["*"]
  }

  statement {
    sid = "RoutesOfTheClustersTables"
    actions = [
      "ec2:CreateRoute",
      "ec2:DeleteRoute",
      "ec2:ReplaceRoute",
    ]
    resources = ["${local.ec2}:route-table/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [var.vpc_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/kubernetes.io/cluster/${var.cluster_name}"
      values   = ["owned", "shared"]
    }
  }

  # Interfaces have no tags unless whoever launches gives them some: their VPC narrows it.
  statement {
    sid       = "SourceDestCheckInTheVpc"
    actions   = ["ec2:ModifyNetworkInterfaceAttribute"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [var.vpc_arn]
    }
  }
}

resource "aws_iam_role" "controller" {
  name               = var.name
  description        = "cloudroute's controller in the cluster ${var.cluster_name}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "controller" {
  name   = "cloudroute"
  role   = aws_iam_role.controller.id
  policy = data.aws_iam_policy_document.controller.json
}

resource "aws_iam_instance_profile" "controller" {
  count = var.identity == "instance-profile" ? 1 : 0

  name = var.name
  role = aws_iam_role.controller.name
  tags = var.tags
}
