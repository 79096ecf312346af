variable "cluster_name" {
  description = "The cluster: instances are tagged kubernetes.io/cluster/<name>."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name must be 1 to 100 letters, digits, dashes and underscores, and begin with a letter or a digit."
  }
}

variable "name" {
  description = "Kind of these nodes, like \"workers\": their names begin with cluster_name and this."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", var.name))
    error_message = "name must be 1 to 32 small letters, digits and dashes."
  }
}

variable "subnet_ids" {
  description = "A subnet for each zone, by the zone's name (subnet_ids of the module network)."
  type        = map(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "subnet_ids must have at least one subnet."
  }
}

variable "per_zone" {
  description = "How many instances each zone has, unless there is an Auto Scaling group."
  type        = number
  default     = 1

  validation {
    condition     = var.per_zone >= 0 && var.per_zone <= 1000 && floor(var.per_zone) == var.per_zone
    error_message = "per_zone must be a whole number, 0 to 1000."
  }
}

variable "autoscaling" {
  description = "Sizes of one Auto Scaling group over all zones, in place of single instances. Its desired size is only the first one: what scales it later is not undone."
  type = object({
    min     = number
    max     = number
    desired = number
  })
  default = null

  validation {
    condition     = var.autoscaling == null || try(0 <= var.autoscaling.min && var.autoscaling.min <= var.autoscaling.desired && var.autoscaling.desired <= var.autoscaling.max, false)
    error_message = "autoscaling must have 0 <= min <= desired <= max."
  }
}

variable "ami_id" {
  description = "The image."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id must be an image's id, like ami-0123456789abcdef0."
  }
}

variable "instance_type" {
  description = "The instance type."
  type        = string
  default     = "m6i.large"
}

variable "security_group_ids" {
  description = "Security groups: the module network's, and those that Kubernetes needs."
  type        = list(string)

  validation {
    condition     = length(var.security_group_ids) >= 1
    error_message = "security_group_ids must have at least one group: without any, instances get the VPC's default group, which lets no pod in."
  }
}

variable "instance_profile_name" {
  description = "Instance profile. The agents need none; nodes that the controller runs on may give it theirs."
  type        = string
  default     = null
}

variable "user_data" {
  description = "Script that the instances run at their first start: plain text, at most 16 KB. A change replaces them."
  type        = string
  default     = null

  validation {
    condition     = var.user_data == null || try(length(var.user_data) <= 16384, false)
    error_message = "user_data must not be longer than 16,384 bytes: EC2 takes no more."
  }
}

variable "ipv6" {
  description = "Give each instance an IPv6 address; its subnet needs a block."
  type        = bool
  default     = true
}

variable "key_name" {
  description = "Key pair for SSH; none by default."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags for everything that is made here."
  type        = map(string)
  default     = {}
}
