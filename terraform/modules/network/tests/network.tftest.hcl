# Without a provider's API: what is planned, and which values are refused.
mock_provider "aws" {}

variables {
  cluster_name = "test"
  zones        = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  pod_cidrs    = ["100.64.0.0/16", "fd00:64::/48"]
}

run "each_zone_has_a_tagged_table" {
  command = plan

  variables {
    ipv6 = false # the subnets' blocks are known only once the VPC has its own
  }

  assert {
    condition     = [for table in aws_route_table.nodes : table.tags["kubernetes.io/cluster/test"]] == ["owned", "owned", "owned"]
    error_message = "Each zone must have a route table with the cluster's tag: the controller finds the tables by it."
  }

  assert {
    condition     = [for subnet in aws_subnet.nodes : subnet.cidr_block] == ["10.0.0.0/20", "10.0.16.0/20", "10.0.32.0/20"]
    error_message = "Each zone's nodes must have a sixteenth of the VPC, in the order of the zones."
  }

  assert {
    condition     = length(aws_route.nodes_ipv6) == 0 && length(aws_nat_gateway.this) == 0
    error_message = "There must be no IPv6 and no NAT where nobody asked for them."
  }
}

run "both_families" {
  override_resource {
    target          = aws_vpc.this
    override_during = plan
    values          = { ipv6_cidr_block = "2001:db8:0:100::/56" }
  }

  command = plan

  assert {
    condition     = [for subnet in aws_subnet.nodes : subnet.ipv6_cidr_block] == ["2001:db8:0:100::/64", "2001:db8:0:101::/64", "2001:db8:0:102::/64"]
    error_message = "Each subnet must have a /64 of the VPC's /56."
  }

  assert {
    condition     = length(aws_route.nodes_ipv6) == 3
    error_message = "Each table must have a way out for IPv6."
  }
}

run "overlay_and_routed_pods_are_let_in" {
  command = plan

  variables {
    ipv6 = false
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.overlay.ip_protocol == "udp" && aws_vpc_security_group_ingress_rule.overlay.from_port == 8472 && aws_vpc_security_group_ingress_rule.overlay.to_port == 8472
    error_message = "The overlay's port must be open between the nodes."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.pods["100.64.0.0/16"].cidr_ipv4 == "100.64.0.0/16" && aws_vpc_security_group_ingress_rule.pods["fd00:64::/48"].cidr_ipv6 == "fd00:64::/48"
    error_message = "Each pod CIDR must be let in, as what it is: a group's name covers no pod."
  }

  assert {
    condition     = !contains(keys(aws_security_group.pods.tags), "kubernetes.io/cluster/test")
    error_message = "The group must not have the cluster's tag: load balancer controllers would change it."
  }
}

run "one_nat_gateway" {
  command = plan

  variables {
    ipv6 = false
    nat  = "single"
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1a"] && length(aws_subnet.public) == 3
    error_message = "There must be one NAT gateway, and public subnets for it and for load balancers."
  }

  assert {
    condition     = !contains(keys(aws_route_table.public[0].tags), "kubernetes.io/cluster/test")
    error_message = "The public table must not have the cluster's tag: the controller would fill it."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.nodes : !subnet.map_public_ip_on_launch])
    error_message = "Behind NAT, nodes must have no public addresses."
  }
}

run "nat_gateways_in_all_zones" {
  command = plan

  variables {
    ipv6 = false
    nat  = "per-zone"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "Each zone must have a NAT gateway."
  }
}

run "pods_inside_the_vpc_are_refused" {
  command = plan

  variables {
    pod_cidrs = ["10.0.128.0/17"]
  }

  expect_failures = [var.pod_cidrs]
}

run "a_vpc_inside_the_pods_is_refused" {
  command = plan

  variables {
    pod_cidrs = ["10.0.0.0/8"]
  }

  expect_failures = [var.pod_cidrs]
}

run "a_small_vpc_is_refused" {
  command = plan

  variables {
    cidr = "10.0.0.0/21"
  }

  expect_failures = [var.cidr]
}

run "a_host_address_is_refused" {
  command = plan

  variables {
    cidr = "10.0.0.1/16"
  }

  expect_failures = [var.cidr]
}

run "a_zone_named_twice_is_refused" {
  command = plan

  variables {
    zones = ["eu-central-1a", "eu-central-1a"]
  }

  expect_failures = [var.zones]
}

run "an_unknown_nat_is_refused" {
  command = plan

  variables {
    nat = "yes"
  }

  expect_failures = [var.nat]
}
