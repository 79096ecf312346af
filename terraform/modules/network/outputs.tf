output "vpc_id" {
  description = "The VPC (--vpc-id of the controller)."
  value       = aws_vpc.this.id
}

output "vpc_arn" {
  description = "The VPC's ARN: what the module iam narrows the controller's permissions to."
  value       = aws_vpc.this.arn
}

output "vpc_cidrs" {
  description = "The VPC's ranges, IPv4 first."
  value       = var.ipv6 ? [aws_vpc.this.cidr_block, aws_vpc.this.ipv6_cidr_block] : [aws_vpc.this.cidr_block]
}

# A node that came up before its zone had a way out could not fetch what it runs.
output "subnet_ids" {
  description = "The nodes' subnet in each zone, by the zone's name."
  value       = { for zone, subnet in aws_subnet.nodes : zone => subnet.id }
  depends_on = [
    aws_route.nodes_ipv4,
    aws_route.nodes_ipv6,
    aws_route_table_association.nodes,
  ]
}

output "public_subnet_ids" {
  description = "The subnets of the NAT gateways, by the zone's name; none without NAT."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }
}

output "route_table_ids" {
  description = "The nodes' route table in each zone, by the zone's name."
  value       = { for zone, table in aws_route_table.nodes : zone => table.id }
}

output "security_group_id" {
  description = "The group that every node needs: the overlay and routed pods."
  value       = aws_security_group.pods.id
}
