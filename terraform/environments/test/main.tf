# A cluster's EC2 without an account: what the examples build, applied to `cloudroute lab aws`.

provider "aws" {
  region     = var.region
  access_key = var.access_key
  secret_key = "any" # the lab checks no signatures

  # What the lab refuses it always will: no hours of retries.
  max_retries = 2

  # There is no account and no metadata service to ask.
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    ec2 = var.endpoint
    iam = var.endpoint
    sts = var.endpoint
  }
}

locals {
  issuer = "oidc.example.com/id/TEST" # nobody asks it anything
}

module "network" {
  source = "../../modules/network"

  cluster_name = var.cluster_name
  zones        = [for letter in slice(["a", "b", "c"], 0, var.zones) : "${var.region}${letter}"]
  pod_cidrs    = var.pod_cidrs
  nat          = var.nat
}

# What Kubernetes itself needs, as EKS's cluster security group and that of examples/self-managed have it.
resource "aws_security_group" "nodes" {
  name        = "${var.cluster_name}-nodes"
  description = "Kubernetes: nodes among each other, and out"
  vpc_id      = module.network.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Control plane and nodes, and nodes among each other"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.nodes.id
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  for_each = toset(["0.0.0.0/0", "::/0"])

  security_group_id = aws_security_group.nodes.id
  description       = "Everything out"
  ip_protocol       = "-1"
  cidr_ipv4         = strcontains(each.key, ":") ? null : each.key
  cidr_ipv6         = strcontains(each.key, ":") ? each.key : null
}

module "nodes" {
  source = "../../modules/nodes"

  cluster_name          = var.cluster_name
  name                  = "nodes"
  subnet_ids            = module.network.subnet_ids
  per_zone              = var.nodes_per_zone
  ami_id                = "ami-12345678" # one that the lab has
  instance_type         = "t3.medium"
  security_group_ids    = [module.network.security_group_id, aws_security_group.nodes.id]
  instance_profile_name = module.iam["instance-profile"].instance_profile_name
  user_data             = "#!/bin/sh\n"
}

module "iam" {
  source   = "../../modules/iam"
  for_each = toset(["instance-profile", "irsa", "pod-identity"])

  name              = "${var.cluster_name}-${each.key}"
  cluster_name      = var.cluster_name
  vpc_arn           = module.network.vpc_arn
  identity          = each.key
  oidc_provider_arn = each.key == "irsa" ? "arn:aws:iam::${split(":", module.network.vpc_arn)[4]}:oidc-provider/${local.issuer}" : null
}
