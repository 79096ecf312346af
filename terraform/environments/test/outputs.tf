output "cluster_name" {
  description = "--cluster-name of the controller."
  value       = var.cluster_name
}

output "cluster_cidrs" {
  description = "--cluster-cidr of controller and agents."
  value       = var.pod_cidrs
}

output "region" {
  description = "--region of the controller."
  value       = var.region
}

output "vpc_id" {
  description = "--vpc-id of the controller."
  value       = module.network.vpc_id
}

output "vpc_arn" {
  description = "The VPC's ARN."
  value       = module.network.vpc_arn
}

output "vpc_cidrs" {
  description = "The VPC's ranges."
  value       = module.network.vpc_cidrs
}

output "route_table_ids" {
  description = "The route table of each zone, by the zone's name."
  value       = module.network.route_table_ids
}

output "security_group_id" {
  description = "The security group of the nodes that cloudroute needs."
  value       = module.network.security_group_id
}

output "node_security_group_id" {
  description = "The security group of the nodes that Kubernetes needs."
  value       = aws_security_group.nodes.id
}

output "nodes" {
  description = "The nodes by name, as in the module nodes."
  value       = module.nodes.nodes
}

output "kubernetes_nodes" {
  description = "The nodes as Nodes of Kubernetes, for `kubectl apply -f -`, where no kubelet registers them."
  value = join("\n---\n", [for name, node in module.nodes.nodes : yamlencode({
    apiVersion = "v1"
    kind       = "Node"
    metadata   = { name = name, labels = { "topology.kubernetes.io/zone" = node.zone } }
    spec       = { providerID = node.provider_id }
    status     = { addresses = [for address in node.addresses : { type = "InternalIP", address = address }] }
  })])
}

output "role_arns" {
  description = "The controller's role, by how it comes by it."
  value       = { for identity, made in module.iam : identity => made.role_arn }
}
