# An EKS cluster whose pods cloudroute connects, in a VPC of its own.
#
#   main.tf      provider, VPC, the controller's role
#   cluster.tf   the control plane, without the VPC CNI; its add-ons
#   nodes.tf     workers as an Auto Scaling group, with a user data that joins them

provider "aws" {
  region = var.region
}

module "network" {
  source = "../../modules/network"

  cluster_name = var.cluster_name
  cidr         = var.vpc_cidr
  ipv6         = false # EKS gives pods one family, and IPv6 only with the VPC CNI
  zones        = var.zones
  pod_cidrs    = [var.pod_cidr]
  nat          = var.nat
  tags         = var.tags
}

module "iam" {
  source = "../../modules/iam"

  name              = "${var.cluster_name}-cloudroute"
  cluster_name      = var.cluster_name
  vpc_arn           = module.network.vpc_arn
  identity          = var.identity
  oidc_provider_arn = one(aws_iam_openid_connect_provider.this[*].arn)
  tags              = var.tags
}

resource "aws_iam_openid_connect_provider" "this" {
  count = var.identity == "irsa" ? 1 : 0

  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
  tags           = var.tags
}

resource "aws_eks_pod_identity_association" "controller" {
  count = var.identity == "pod-identity" ? 1 : 0

  cluster_name    = aws_eks_cluster.this.name
  namespace       = "cloudroute"
  service_account = "cloudroute-controller"
  role_arn        = module.iam.role_arn
  tags            = var.tags
}
