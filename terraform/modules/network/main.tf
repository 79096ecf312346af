# A VPC that cloudroute can use to the full: a subnet and a route table of its own for each zone, so that no zone's nodes
# share entries of a table with another's, and each table is tagged so that the controller finds it.
#
# No table has inline routes: Terraform would remove the controller's. Every route of ours is an aws_route.

locals {
  cluster_tag = { "kubernetes.io/cluster/${var.cluster_name}" = "owned" }
  index       = { for index, zone in var.zones : zone => index }
  nat_zones   = var.nat == "none" ? [] : var.nat == "single" ? slice(var.zones, 0, 1) : var.zones
  private     = var.nat != "none"
}

resource "aws_vpc" "this" {
  cidr_block                       = var.cidr
  assign_generated_ipv6_cidr_block = var.ipv6
  enable_dns_support               = true
  enable_dns_hostnames             = true
  tags                             = merge(var.tags, { Name = var.cluster_name })
}

resource "aws_subnet" "nodes" {
  for_each = local.index

  vpc_id                          = aws_vpc.this.id
  availability_zone               = each.key
  cidr_block                      = cidrsubnet(var.cidr, 4, each.value)
  ipv6_cidr_block                 = var.ipv6 ? cidrsubnet(aws_vpc.this.ipv6_cidr_block, 8, each.value) : null
  assign_ipv6_address_on_creation = var.ipv6
  map_public_ip_on_launch         = !local.private

  tags = merge(var.tags, local.cluster_tag, {
    Name                                                                           = "${var.cluster_name}-nodes-${each.key}"
    (local.private ? "kubernetes.io/role/internal-elb" : "kubernetes.io/role/elb") = "1"
  })
}

resource "aws_route_table" "nodes" {
  for_each = local.index

  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, local.cluster_tag, { Name = "${var.cluster_name}-nodes-${each.key}" })
}

resource "aws_route_table_association" "nodes" {
  for_each = local.index

  subnet_id      = aws_subnet.nodes[each.key].id
  route_table_id = aws_route_table.nodes[each.key].id
}
