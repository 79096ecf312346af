output "cluster_name" {
  description = "--cluster-name of the controller."
  value       = aws_eks_cluster.this.name
}

output "cluster_cidr" {
  description = "--cluster-cidr of controller and agents."
  value       = var.pod_cidr
}

output "vpc_id" {
  description = "--vpc-id of the controller."
  value       = module.network.vpc_id
}

output "region" {
  description = "--region of the controller."
  value       = var.region
}

output "flags" {
  description = "Flags of cloudroute doctor and cloudroute verify for this cluster."
  value       = "--cluster-name=${aws_eks_cluster.this.name} --cluster-cidr=${var.pod_cidr} --region=${var.region} --vpc-id=${module.network.vpc_id}"
}

output "controller_role_arn" {
  description = "The controller's role: with \"irsa\", annotation eks.amazonaws.com/role-arn of its ServiceAccount."
  value       = module.iam.role_arn
}

output "kubeconfig" {
  description = "The command that gives kubectl this cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}
