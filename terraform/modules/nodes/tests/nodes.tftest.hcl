# Without a provider's API: what is planned, and which values are refused.
mock_provider "aws" {}

variables {
  cluster_name       = "test"
  name               = "workers"
  subnet_ids         = { eu-central-1a = "subnet-0000000a", eu-central-1b = "subnet-0000000b" }
  ami_id             = "ami-12345678"
  security_group_ids = ["sg-00000001"]
}

run "instances" {
  variables {
    per_zone = 2
  }

  command = plan

  assert {
    condition     = { for name, node in aws_instance.this : name => node.subnet_id } == { eu-central-1a-0 = "subnet-0000000a", eu-central-1a-1 = "subnet-0000000a", eu-central-1b-0 = "subnet-0000000b", eu-central-1b-1 = "subnet-0000000b" }
    error_message = "Each zone must have two instances in its subnet."
  }

  assert {
    condition     = alltrue([for node in aws_instance.this : node.tags["kubernetes.io/cluster/test"] == "owned" && node.ipv6_address_count == 1])
    error_message = "Each instance must have the cluster's tag and an IPv6 address."
  }

  assert {
    condition     = alltrue([for node in aws_instance.this : node.metadata_options[0].http_tokens == "required" && node.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "Pods must not reach the node's metadata service."
  }

  assert {
    condition     = length(aws_autoscaling_group.this) == 0
    error_message = "There must be no Auto Scaling group beside the instances."
  }
}

run "an_auto_scaling_group" {
  command = plan

  variables {
    autoscaling = { min = 1, max = 9, desired = 3 }
    user_data   = "#!/bin/sh"
  }

  assert {
    condition     = length(aws_instance.this) == 0 && toset(aws_autoscaling_group.this[0].vpc_zone_identifier) == toset(["subnet-0000000a", "subnet-0000000b"])
    error_message = "There must be a group over all zones, and no single instance."
  }

  assert {
    condition     = aws_launch_template.this[0].user_data == "IyEvYmluL3No"
    error_message = "A launch template takes user data in base64."
  }

  assert {
    condition     = contains([for tag in aws_autoscaling_group.this[0].tag : tag.key if tag.propagate_at_launch], "kubernetes.io/cluster/test")
    error_message = "Instances of the group must have the cluster's tag."
  }
}

run "a_group_that_wants_more_than_it_may_is_refused" {
  command = plan

  variables {
    autoscaling = { min = 1, max = 2, desired = 3 }
  }

  expect_failures = [var.autoscaling]
}

run "no_security_group_is_refused" {
  command = plan

  variables {
    security_group_ids = []
  }

  expect_failures = [var.security_group_ids]
}

run "half_an_instance_is_refused" {
  command = plan

  variables {
    per_zone = 0.5
  }

  expect_failures = [var.per_zone]
}
