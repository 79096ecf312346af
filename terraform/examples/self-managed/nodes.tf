locals {
  join = {
    dual_stack = local.dual_stack
    token      = var.bootstrap_token
  }

  control_plane = one(values(module.control_plane.nodes))
}

module "control_plane" {
  source = "../../modules/nodes"

  cluster_name          = var.cluster_name
  name                  = "control-plane"
  subnet_ids            = { (var.zones[0]) = module.network.subnet_ids[var.zones[0]] }
  ami_id                = var.ami_id
  instance_type         = var.control_plane_instance_type
  security_group_ids    = [module.network.security_group_id, aws_security_group.nodes.id]
  instance_profile_name = module.iam.instance_profile_name # the controller runs here, on the host's network
  ipv6                  = local.dual_stack
  key_name              = var.key_name
  tags                  = var.tags

  user_data = templatefile("${path.module}/control-plane.sh", merge(local.join, {
    cluster       = var.cluster_name
    pod_cidrs     = join(",", var.pod_cidrs)
    service_cidrs = join(",", slice(var.service_cidrs, 0, length(var.pod_cidrs)))
  }))
}

module "workers" {
  source = "../../modules/nodes"

  cluster_name       = var.cluster_name
  name               = "workers"
  subnet_ids         = module.network.subnet_ids
  autoscaling        = var.ca_certificate_hash == null ? { min = 0, max = 0, desired = 0 } : var.workers
  ami_id             = var.ami_id
  instance_type      = var.instance_type
  security_group_ids = [module.network.security_group_id, aws_security_group.nodes.id]
  ipv6               = local.dual_stack
  key_name           = var.key_name
  tags               = var.tags

  user_data = templatefile("${path.module}/worker.sh", merge(local.join, {
    api  = "${local.control_plane.addresses[0]}:6443"
    hash = coalesce(var.ca_certificate_hash, "not-known-yet")
  }))
}
