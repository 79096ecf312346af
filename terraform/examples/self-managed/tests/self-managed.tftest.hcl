# Without a provider's API: the whole root is planned.
mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  ami_id          = "ami-0123456789abcdef0"
  bootstrap_token = "abcdef.0123456789abcdef"
}

run "control_plane_first" {
  command = plan

  assert {
    condition     = output.cluster_cidrs == tolist(["100.64.0.0/16", "fd00:64::/48"])
    error_message = "It must be dual-stack."
  }
}

run "then_workers" {
  command = plan

  variables {
    ca_certificate_hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.ipv6) == 1
    error_message = "Nodes must get out by IPv6."
  }
}

run "ipv4_alone" {
  command = plan

  variables {
    pod_cidrs        = ["100.64.0.0/16"]
    api_access_cidrs = ["203.0.113.0/24"]
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.ipv6) == 0 && aws_vpc_security_group_ingress_rule.api["203.0.113.0/24"].from_port == 6443
    error_message = "There must be no IPv6, and the API server be reachable from where it should."
  }
}

run "ipv6_first_is_refused" {
  command = plan

  variables {
    pod_cidrs = ["fd00:64::/48", "100.64.0.0/16"]
  }

  expect_failures = [var.pod_cidrs]
}

run "a_bad_token_is_refused" {
  command = plan

  variables {
    bootstrap_token = "secret"
  }

  expect_failures = [var.bootstrap_token]
}
