# The real provider: it makes policy documents by itself, and is asked for nothing but plans.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variables {
  name         = "test-cloudroute"
  cluster_name = "test"
  vpc_arn      = "arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-0123456789abcdef0"
  identity     = "pod-identity"
}

run "no_more_than_the_controller_calls" {
  command = plan

  assert {
    condition = toset(flatten([for statement in jsondecode(data.aws_iam_policy_document.controller.json).Statement : statement.Action])) == toset([
      "ec2:CreateRoute",
      "ec2:DeleteRoute",
      "ec2:DescribeInstances",
      "ec2:DescribeManagedPrefixLists",
      "ec2:DescribeRouteTables",
      "ec2:DescribeSubnets",
      "ec2:ModifyNetworkInterfaceAttribute",
      "ec2:ReplaceRoute",
      "servicequotas:GetAWSDefaultServiceQuota",
      "servicequotas:GetServiceQuota",
    ])
    error_message = "The policy must allow the ten calls that the controller makes, and no others."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.controller.json).Statement :
      statement.Sid == "Read" || try(statement.Condition.ArnEquals["ec2:Vpc"], "") == var.vpc_arn && !strcontains(statement.Resource, "::")
    ])
    error_message = "Whatever changes something must be narrowed to the VPC, its region and its account."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(data.aws_iam_policy_document.controller.json).Statement :
      statement.Sid == "RoutesOfTheClustersTables" && try(toset(statement.Condition.StringEquals["aws:ResourceTag/kubernetes.io/cluster/test"]) == toset(["owned", "shared"]), false)
    ])
    error_message = "Routes must be narrowed to the tables of the cluster."
  }
}

run "a_service_account" {
  command = plan

  variables {
    identity          = "irsa"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/ABC"
  }

  assert {
    condition = jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Condition.StringEquals == {
      "oidc.example.com/id/ABC:aud" = "sts.amazonaws.com"
      "oidc.example.com/id/ABC:sub" = "system:serviceaccount:cloudroute:cloudroute-controller"
    }
    error_message = "Only the controller's ServiceAccount may take the role."
  }

  assert {
    condition     = length(aws_iam_instance_profile.controller) == 0
    error_message = "There must be no instance profile where nobody asked for one."
  }
}

run "pod_identity" {
  command = plan

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Principal.Service == "pods.eks.amazonaws.com" && toset(jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Action) == toset(["sts:AssumeRole", "sts:TagSession"])
    error_message = "EKS Pod Identity must be able to take the role and to tag its session."
  }
}

run "instance_profile" {
  command = plan

  variables {
    identity = "instance-profile"
  }

  assert {
    condition     = aws_iam_instance_profile.controller[0].name == "test-cloudroute" && jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Principal.Service == "ec2.amazonaws.com"
    error_message = "Instances must be able to take the role by a profile."
  }
}

run "irsa_without_a_provider_is_refused" {
  command = plan

  variables {
    identity = "irsa"
  }

  expect_failures = [var.identity]
}

run "a_vpc_that_is_no_arn_is_refused" {
  command = plan

  variables {
    vpc_arn = "vpc-0123456789abcdef0"
  }

  expect_failures = [var.vpc_arn]
}
