output "cluster_name" {
  description = "--cluster-name of the controller."
  value       = var.cluster_name
}

output "cluster_cidrs" {
  description = "--cluster-cidr of controller and agents."
  value       = var.pod_cidrs
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
  value = join(" ", concat(
    ["--cluster-name=${var.cluster_name}", "--region=${var.region}", "--vpc-id=${module.network.vpc_id}"],
    [for cidr in var.pod_cidrs : "--cluster-cidr=${cidr}"],
  ))
}

output "control_plane" {
  description = "The control plane node: where kubeadm init has run, and kubeconfig is in /etc/kubernetes/admin.conf."
  value       = local.control_plane
}
