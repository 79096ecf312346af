locals {
  private_pods = can(regex("^(10|192\\.168|172\\.(1[6-9]|2[0-9]|3[01]))\\.", var.pod_cidr))

  # The provider demands a range of hybrid nodes beside that of pods. There are none: one private address that nobody has.
  no_hybrid_node = "192.168.255.255/32"
}

resource "aws_eks_cluster" "this" {
  name     = var.cluster_name
  version  = var.kubernetes_version # null: EKS's default when the cluster is made, and no upgrade by Terraform
  role_arn = aws_iam_role.cluster.arn
  tags     = var.tags

  # Otherwise EKS installs the VPC CNI, which would configure every node before cloudroute does.
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }

  kubernetes_network_config {
    service_ipv4_cidr = var.service_cidr
  }

  # The control plane calls webhooks and aggregated API servers at pods of this range, by its interfaces in the nodes' subnets,
  # whose tables have the pods' routes. EKS and the provider take private ranges only (RFC 1918).
  dynamic "remote_network_config" {
    for_each = local.private_pods ? [var.pod_cidr] : []

    content {
      remote_node_networks {
        cidrs = [local.no_hybrid_node]
      }

      remote_pod_networks {
        cidrs = [remote_network_config.value]
      }
    }
  }

  vpc_config {
    subnet_ids              = values(module.network.subnet_ids)
    endpoint_private_access = true
    endpoint_public_access  = true
    public_access_cidrs     = var.public_access_cidrs
  }

  lifecycle {
    precondition {
      condition     = length(var.zones) >= 2
      error_message = "EKS wants subnets in two zones at least."
    }
  }

  depends_on = [aws_iam_role_policy_attachment.cluster]
}

# A routed pod keeps its own address toward the VPC, where the control plane's interfaces are, and EKS's own group lets
# only nodes in.
resource "aws_vpc_security_group_ingress_rule" "pods_to_api" {
  security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description       = "Pods to the API server"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.pod_cidr
}

data "aws_iam_policy_document" "cluster_trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${var.cluster_name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.cluster_trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

data "aws_partition" "this" {}

# --- add-ons --------------------------------------------------------------------------------------

# These run on the host's network, so they need no pod network to become active.
resource "aws_eks_addon" "kube_proxy" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "kube-proxy"
  tags         = var.tags
}

resource "aws_eks_addon" "pod_identity" {
  count = var.identity == "pod-identity" ? 1 : 0

  cluster_name = aws_eks_cluster.this.name
  addon_name   = "eks-pod-identity-agent"
  tags         = var.tags
}

# This one does: with it on before cloudroute runs, Terraform would wait for it in vain.
resource "aws_eks_addon" "coredns" {
  count = var.coredns ? 1 : 0

  cluster_name = aws_eks_cluster.this.name
  addon_name   = "coredns"
  tags         = var.tags

  depends_on = [module.workers]
}
