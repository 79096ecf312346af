# Who may take the role: the controller's ServiceAccount by the cluster's OIDC provider, the same as EKS Pod
# Identity tags its sessions, or the instances.

locals {
  # arn:<partition>:iam::<account>:oidc-provider/<issuer>
  issuer = var.oidc_provider_arn == null ? "" : replace(var.oidc_provider_arn, "/^[^/]*:oidc-provider\\//", "")
}

data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = var.identity == "irsa" ? [var.oidc_provider_arn] : []

    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]

      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "${local.issuer}:sub"
        values   = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
      }

      condition {
        test     = "StringEquals"
        variable = "${local.issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.identity == "pod-identity" ? ["pods.eks.amazonaws.com"] : []

    content {
      actions = ["sts:AssumeRole", "sts:TagSession"]

      principals {
        type        = "Service"
        identifiers = [statement.value]
      }

      dynamic "condition" {
        for_each = {
          eks-cluster-arn            = "${replace(local.ec2, ":ec2:", ":eks:")}:cluster/${var.cluster_name}"
          kubernetes-namespace       = var.namespace
          kubernetes-service-account = var.service_account
        }

        content {
          test     = "StringEquals"
          variable = "aws:RequestTag/${condition.key}"
          values   = [condition.value]
        }
      }
    }
  }

  dynamic "statement" {
    for_each = var.identity == "instance-profile" ? ["ec2.amazonaws.com"] : []

    content {
      actions = ["sts:AssumeRole"]

      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
    }
  }
}
