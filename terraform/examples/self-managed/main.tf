# A cluster that kubeadm makes on plain instances: one control plane node, which the controller runs on, and workers.
#
#   main.tf      provider, VPC, the controller's role, security
#   nodes.tf     control plane and workers, and what they run at their first start
#
# Two applies: the workers join with the control plane's certificate hash, which exists once it runs (README.md).

provider "aws" {
  region = var.region
}

locals {
  dual_stack = length(var.pod_cidrs) == 2
}

module "network" {
  source = "../../modules/network"

  cluster_name = var.cluster_name
  cidr         = var.vpc_cidr
  ipv6         = local.dual_stack
  zones        = var.zones
  pod_cidrs    = var.pod_cidrs
  nat          = var.nat
  tags         = var.tags
}

module "iam" {
  source = "../../modules/iam"

  name         = "${var.cluster_name}-cloudroute"
  cluster_name = var.cluster_name
  vpc_arn      = module.network.vpc_arn
  identity     = "instance-profile"
  tags         = var.tags
}

# What Kubernetes itself needs between nodes: kubelets, the API server, Services of host-network pods, and hosts to pods
# (webhooks). cloudroute's own group, with the overlay and the pods, comes from the module network.
resource "aws_security_group" "nodes" {
  name        = "${var.cluster_name}-nodes"
  description = "Kubernetes: nodes among each other, and out"
  vpc_id      = module.network.vpc_id
  tags        = merge(var.tags, { Name = "${var.cluster_name}-nodes" })
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Nodes among each other"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each = toset(var.api_access_cidrs)

  security_group_id = aws_security_group.nodes.id
  description       = "The API server, from outside"
  ip_protocol       = "tcp"
  from_port         = 6443
  to_port           = 6443
  cidr_ipv4         = each.key
}

resource "aws_vpc_security_group_egress_rule" "ipv4" {
  security_group_id = aws_security_group.nodes.id
  description       = "Everything out"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "ipv6" {
  count = local.dual_stack ? 1 : 0

  security_group_id = aws_security_group.nodes.id
  description       = "Everything out"
  ip_protocol       = "-1"
  cidr_ipv6         = "::/0"
}
