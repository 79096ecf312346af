# Without a provider's API: the whole root is planned.
mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_ssm_parameter" {
    defaults = { value = "ami-0123456789abcdef0" }
  }

  mock_data "aws_ec2_instance_type" {
    defaults = { supported_architectures = ["x86_64"] }
  }
}

run "no_vpc_cni" {
  command = plan

  assert {
    condition     = !aws_eks_cluster.this.bootstrap_self_managed_addons
    error_message = "EKS must not install the VPC CNI."
  }

  assert {
    condition     = !contains(keys(aws_iam_role_policy_attachment.workers), "AmazonEKS_CNI_Policy")
    error_message = "Workers must not have the VPC CNI's permissions."
  }

  assert {
    condition     = length(aws_eks_addon.coredns) == 0
    error_message = "CoreDNS must not be waited for before there is a pod network."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.pods_to_api.cidr_ipv4 == "10.64.0.0/14"
    error_message = "Pods must reach the API server."
  }

  assert {
    condition     = aws_eks_cluster.this.remote_network_config[0].remote_pod_networks[0].cidrs == toset(["10.64.0.0/14"])
    error_message = "The control plane must know the pods' range, to call webhooks there."
  }
}

run "pods_of_no_private_range" {
  command = plan

  variables {
    pod_cidr = "100.64.0.0/16"
  }

  assert {
    condition     = length(aws_eks_cluster.this.remote_network_config) == 0
    error_message = "The provider refuses remote pods of a range that is not private."
  }
}

run "graviton" {
  command = plan

  variables {
    kubernetes_version = "1.36"
    instance_type      = "m7g.large"
  }

  override_data {
    target = data.aws_ec2_instance_type.workers
    values = { supported_architectures = ["arm64"] }
  }

  assert {
    condition     = data.aws_ssm_parameter.image.name == "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/standard/recommended/image_id"
    error_message = "The image must be of the instances' architecture and the cluster's version."
  }
}

run "a_version_without_admission_policies_is_refused" {
  command = plan

  variables {
    kubernetes_version = "1.29"
  }

  expect_failures = [var.kubernetes_version]
}

run "pod_identity" {
  command = plan

  variables {
    identity = "pod-identity"
  }

  assert {
    condition     = aws_eks_pod_identity_association.controller[0].service_account == "cloudroute-controller" && length(aws_eks_addon.pod_identity) == 1 && length(aws_iam_openid_connect_provider.this) == 0
    error_message = "The controller's ServiceAccount must be associated, and the agent of Pod Identity be there."
  }
}

run "one_zone_is_refused" {
  command = plan

  variables {
    zones = ["eu-central-1a"]
  }

  expect_failures = [aws_eks_cluster.this]
}

run "zones_of_another_region_are_refused" {
  command = plan

  variables {
    region = "eu-west-1"
  }

  expect_failures = [var.zones]
}
