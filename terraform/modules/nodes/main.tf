# Nodes: single instances, or an Auto Scaling group.
#
# EC2 can't switch the source/dest check at launch, and neither should Terraform afterwards: the controller does it for
# each interface, also of instances that a group launched at night. So no one here sets it, and its state is no drift.

locals {
  full_name = "${var.cluster_name}-${var.name}"
  tags      = merge(var.tags, { "kubernetes.io/cluster/${var.cluster_name}" = "owned" })

  # Agent and controller are on the host's network: one hop. With two, every pod could ask for the node's credentials.
  metadata_hops = 1

  instances = var.autoscaling != null ? {} : {
    for place in flatten([
      for zone, subnet in var.subnet_ids : [
        for number in range(var.per_zone) : { name = "${zone}-${number}", subnet = subnet }
      ]
    ]) : place.name => place.subnet
  }
}

resource "aws_instance" "this" {
  for_each = local.instances

  ami                         = var.ami_id
  instance_type               = var.instance_type
  subnet_id                   = each.value
  vpc_security_group_ids      = var.security_group_ids
  ipv6_address_count          = var.ipv6 ? 1 : null
  iam_instance_profile        = var.instance_profile_name
  key_name                    = var.key_name
  user_data                   = var.user_data
  user_data_replace_on_change = true
  tags                        = merge(local.tags, { Name = "${local.full_name}-${each.key}" })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = local.metadata_hops
  }

  lifecycle {
    ignore_changes = [source_dest_check]
  }
}

resource "aws_launch_template" "this" {
  count = var.autoscaling == null ? 0 : 1

  name_prefix            = "${local.full_name}-"
  image_id               = var.ami_id
  instance_type          = var.instance_type
  key_name               = var.key_name
  user_data              = var.user_data == null ? null : base64encode(var.user_data)
  update_default_version = true
  tags                   = local.tags

  network_interfaces {
    device_index          = 0
    delete_on_termination = true
    security_groups       = var.security_group_ids
    ipv6_address_count    = var.ipv6 ? 1 : null
  }

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile_name == null ? [] : [var.instance_profile_name]

    content {
      name = iam_instance_profile.value
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = local.metadata_hops
  }

  tag_specifications {
    resource_type = "network-interface"
    tags          = local.tags
  }
}

resource "aws_autoscaling_group" "this" {
  count = var.autoscaling == null ? 0 : 1

  name                = local.full_name
  min_size            = var.autoscaling.min
  max_size            = var.autoscaling.max
  desired_capacity    = var.autoscaling.desired
  vpc_zone_identifier = values(var.subnet_ids)

  # Nodes become Ready when cloudroute runs, which may be installed after them.
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.this[0].id
    version = aws_launch_template.this[0].latest_version
  }

  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.full_name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }
}
