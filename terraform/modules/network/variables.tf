variable "cluster_name" {
  description = "The cluster. Its route tables are tagged kubernetes.io/cluster/<name>, by which the controller finds them (--cluster-name)."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name must be 1 to 100 letters, digits, dashes and underscores, and begin with a letter or a digit."
  }
}

variable "cidr" {
  description = "IPv4 range of the VPC, /16 to /20: each zone's nodes get a sixteenth of it."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], false)
    error_message = "cidr must be an IPv4 network like 10.0.0.0/16, with no bits set behind its prefix."
  }

  validation {
    condition     = try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr must be a /16 to /20: EC2 takes no larger VPC, and in a smaller one the subnets have no room."
  }
}

variable "ipv6" {
  description = "Give the VPC a /56 of Amazon's IPv6 addresses and each subnet a /64 of it."
  type        = bool
  default     = true
}

variable "zones" {
  description = "Availability zones. A zone's place in the list decides its addresses: append only."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 1 && length(var.zones) <= 15 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must name 1 to 15 zones, each once."
  }
}

variable "pod_cidrs" {
  description = "The --cluster-cidr of cloudroute, one or one of each family. The VPC routes them, so they must lie outside of it."
  type        = list(string)

  validation {
    condition     = length(var.pod_cidrs) >= 1 && alltrue([for cidr in var.pod_cidrs : can(cidrhost(cidr, 0))])
    error_message = "pod_cidrs must be at least one network like 100.64.0.0/16 or fd00:64::/48."
  }

  # Two networks overlap where they are the same in the shorter prefix of the two.
  validation {
    condition = alltrue([
      for cidr in var.pod_cidrs : strcontains(cidr, ":") || try(
        cidrhost("${split("/", cidr)[0]}/${min(split("/", cidr)[1], split("/", var.cidr)[1])}", 0) !=
        cidrhost("${split("/", var.cidr)[0]}/${min(split("/", cidr)[1], split("/", var.cidr)[1])}", 0), true
      )
    ])
    error_message = "pod_cidrs must not overlap the VPC's cidr: inside a VPC, EC2 routes nothing but whole subnets to an interface."
  }
}

variable "vxlan_port" {
  description = "UDP port of the overlay (--vxlan-port of the agent)."
  type        = number
  default     = 8472

  validation {
    condition     = var.vxlan_port >= 1 && var.vxlan_port <= 65535 && floor(var.vxlan_port) == var.vxlan_port
    error_message = "vxlan_port must be a port, 1 to 65535."
  }
}

variable "nat" {
  description = "How nodes reach the internet: \"none\", by public addresses of their own; \"single\", by one NAT gateway for all zones; \"per-zone\", by one in each."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "single", "per-zone"], var.nat)
    error_message = "nat must be \"none\", \"single\" or \"per-zone\"."
  }
}

variable "tags" {
  description = "Tags for everything that is made here."
  type        = map(string)
  default     = {}
}
