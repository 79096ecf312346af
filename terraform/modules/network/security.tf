# The security group that every node needs for cloudroute, whatever else it has: groups add up.
#
# It is not tagged for the cluster: Kubernetes' load balancer controllers change the one group of a node that is, and
# refuse a node that has two.

resource "aws_security_group" "pods" {
  name        = "${var.cluster_name}-cloudroute"
  description = "cloudroute: the overlay between nodes, and routed pods"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.cluster_name}-cloudroute" })
}

# The tunnel's outer addresses are the nodes' own, so the group may name itself.
resource "aws_vpc_security_group_ingress_rule" "overlay" {
  security_group_id            = aws_security_group.pods.id
  description                  = "VXLAN from the other nodes"
  ip_protocol                  = "udp"
  from_port                    = var.vxlan_port
  to_port                      = var.vxlan_port
  referenced_security_group_id = aws_security_group.pods.id
}

resource "aws_vpc_security_group_egress_rule" "overlay" {
  security_group_id            = aws_security_group.pods.id
  description                  = "VXLAN to the other nodes"
  ip_protocol                  = "udp"
  from_port                    = var.vxlan_port
  to_port                      = var.vxlan_port
  referenced_security_group_id = aws_security_group.pods.id
}

# A group's name stands for the addresses of interfaces, and a pod's is none: a routed packet is let in by its CIDR only.
resource "aws_vpc_security_group_ingress_rule" "pods" {
  for_each = toset(var.pod_cidrs)

  security_group_id = aws_security_group.pods.id
  description       = "Routed pods of the other nodes"
  ip_protocol       = "-1"
  cidr_ipv4         = strcontains(each.key, ":") ? null : each.key
  cidr_ipv6         = strcontains(each.key, ":") ? each.key : null
}

resource "aws_vpc_security_group_egress_rule" "pods" {
  for_each = toset(var.pod_cidrs)

  security_group_id = aws_security_group.pods.id
  description       = "Routed pods of the other nodes"
  ip_protocol       = "-1"
  cidr_ipv4         = strcontains(each.key, ":") ? null : each.key
  cidr_ipv6         = strcontains(each.key, ":") ? each.key : null
}
