variable "region" {
  description = "The region."
  type        = string
  default     = "eu-central-1"
}

variable "cluster_name" {
  description = "The cluster (--cluster-name of cloudroute)."
  type        = string
  default     = "cloudroute"
}

variable "zones" {
  description = "Availability zones. The control plane is in the first. Append only."
  type        = list(string)
  default     = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]

  validation {
    condition     = alltrue([for zone in var.zones : startswith(zone, var.region)])
    error_message = "zones must be those of the region."
  }
}

variable "vpc_cidr" {
  description = "IPv4 range of the VPC."
  type        = string
  default     = "10.0.0.0/16"
}

variable "pod_cidrs" {
  description = "The --cluster-cidr of cloudroute: IPv4, and an IPv6 one for a dual-stack cluster."
  type        = list(string)
  default     = ["100.64.0.0/16", "fd00:64::/48"]

  validation {
    condition     = can(cidrnetmask(var.pod_cidrs[0])) && length(var.pod_cidrs) <= 2 && try(strcontains(var.pod_cidrs[1], ":"), true)
    error_message = "pod_cidrs must be an IPv4 network, and an IPv6 one after it if the cluster is to be dual-stack."
  }
}

variable "service_cidrs" {
  description = "Addresses of Services: IPv4, then IPv6, which only a dual-stack cluster uses."
  type        = list(string)
  default     = ["10.96.0.0/16", "fd00:96::/112"]

  validation {
    condition     = length(var.service_cidrs) == 2 && can(cidrnetmask(var.service_cidrs[0])) && try(strcontains(var.service_cidrs[1], ":"), false)
    error_message = "service_cidrs must be an IPv4 network and an IPv6 one."
  }
}

variable "nat" {
  description = "How nodes reach the internet: \"none\" (public addresses), \"single\" or \"per-zone\" (NAT gateways)."
  type        = string
  default     = "none"
}

variable "api_access_cidrs" {
  description = "From where, beside the nodes, the API server may be reached (IPv4)."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.api_access_cidrs : can(cidrnetmask(cidr))])
    error_message = "api_access_cidrs must be IPv4 networks like 203.0.113.0/24."
  }
}

variable "ami_id" {
  description = "An image with containerd, kubeadm and kubelet, such as image-builder makes."
  type        = string
}

variable "instance_type" {
  description = "The workers' instance type."
  type        = string
  default     = "m6i.large"
}

variable "control_plane_instance_type" {
  description = "The control plane's instance type."
  type        = string
  default     = "m6i.large"
}

variable "workers" {
  description = "Sizes of the workers' Auto Scaling group."
  type        = object({ min = number, max = number, desired = number })
  default     = { min = 2, max = 10, desired = 3 }
}

variable "key_name" {
  description = "Key pair for SSH."
  type        = string
  default     = null
}

variable "bootstrap_token" {
  description = "The token that workers join with: 6 and 16 small letters and digits with a dot between (kubeadm token generate)."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[a-z0-9]{6}\\.[a-z0-9]{16}$", var.bootstrap_token))
    error_message = "bootstrap_token must be 6 small letters and digits, a dot, and 16 more: kubeadm token generate makes one."
  }
}

variable "ca_certificate_hash" {
  description = "Hash of the control plane's CA certificate, by which workers know it. Null in the first apply: there are no workers then."
  type        = string
  default     = null

  validation {
    condition     = var.ca_certificate_hash == null || can(regex("^sha256:[0-9a-f]{64}$", var.ca_certificate_hash))
    error_message = "ca_certificate_hash must be sha256: and 64 hexadecimal digits, as kubeadm init prints it."
  }
}

variable "tags" {
  description = "Tags for everything that is made here."
  type        = map(string)
  default     = {}
}
