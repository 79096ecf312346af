# The ways out. Without NAT, nodes have public addresses and the internet gateway; with it, they have the NAT gateway for
# IPv4 and an egress-only gateway for IPv6, and subnets of their own hold the NAT gateways.

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.cluster_name })
}

resource "aws_egress_only_internet_gateway" "this" {
  count = local.private && var.ipv6 ? 1 : 0

  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.cluster_name })
}

resource "aws_route" "nodes_ipv4" {
  for_each = local.index

  route_table_id         = aws_route_table.nodes[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = local.private ? null : aws_internet_gateway.this.id
  nat_gateway_id         = local.private ? aws_nat_gateway.this[var.nat == "single" ? var.zones[0] : each.key].id : null
}

resource "aws_route" "nodes_ipv6" {
  for_each = var.ipv6 ? local.index : {}

  route_table_id              = aws_route_table.nodes[each.key].id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = local.private ? null : aws_internet_gateway.this.id
  egress_only_gateway_id      = local.private ? aws_egress_only_internet_gateway.this[0].id : null
}

# --- where the NAT gateways stand, and load balancers that face the internet -----------------------

resource "aws_subnet" "public" {
  for_each = local.private ? local.index : {}

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.cidr, 8, 240 + each.value) # in the last sixteenth, which no zone's nodes have

  tags = merge(var.tags, local.cluster_tag, {
    Name                     = "${var.cluster_name}-public-${each.key}"
    "kubernetes.io/role/elb" = "1"
  })
}

# Not tagged for the cluster: no node sends from here, so the controller need not fill it.
resource "aws_route_table" "public" {
  count = local.private ? 1 : 0

  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.cluster_name}-public" })
}

resource "aws_route" "public_ipv4" {
  count = local.private ? 1 : 0

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = local.private ? local.index : {}

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_eip" "nat" {
  for_each = toset(local.nat_zones)

  domain = "vpc"
  tags   = merge(var.tags, { Name = "${var.cluster_name}-nat-${each.key}" })

  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  for_each = toset(local.nat_zones)

  subnet_id     = aws_subnet.public[each.key].id
  allocation_id = aws_eip.nat[each.key].id
  tags          = merge(var.tags, { Name = "${var.cluster_name}-${each.key}" })

  depends_on = [aws_route.public_ipv4]
}
