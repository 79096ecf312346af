variable "region" {
  description = "The region."
  type        = string
  default     = "eu-central-1"
}

variable "cluster_name" {
  description = "The cluster (--cluster-name of cloudroute)."
  type        = string
  default     = "cloudroute-eks"
}

variable "kubernetes_version" {
  description = "Kubernetes' version, as EKS names it. Null: EKS's default when the cluster is made; later applies keep that."
  type        = string
  default     = null

  validation {
    condition     = var.kubernetes_version == null || try(tonumber(regex("^1\\.([0-9]{2})$", var.kubernetes_version)[0]) >= 30, false)
    error_message = "kubernetes_version must be 1.30 or newer, written like 1.36: cloudroute's admission policy needs that."
  }
}

variable "zones" {
  description = "Availability zones, two at least. Append only."
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

variable "pod_cidr" {
  description = "The --cluster-cidr of cloudroute: outside of the VPC and of service_cidr. Only at pods of a private range (RFC 1918) does EKS call webhooks."
  type        = string
  default     = "10.64.0.0/14"

  validation {
    condition     = can(cidrnetmask(var.pod_cidr)) && try(cidrhost(var.pod_cidr, 0) == split("/", var.pod_cidr)[0], false)
    error_message = "pod_cidr must be an IPv4 network like 10.64.0.0/14, with no bits set behind its prefix."
  }
}

variable "service_cidr" {
  description = "Addresses of Services, as EKS takes them: inside of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, outside of the VPC."
  type        = string
  default     = "172.20.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.service_cidr))
    error_message = "service_cidr must be an IPv4 network like 172.20.0.0/16."
  }
}

variable "nat" {
  description = "How nodes reach the internet: \"single\" or \"per-zone\" (NAT gateways), or \"none\" (public addresses)."
  type        = string
  default     = "single"
}

variable "identity" {
  description = "How the controller comes by its role: \"irsa\" or \"pod-identity\"."
  type        = string
  default     = "irsa"

  validation {
    condition     = contains(["irsa", "pod-identity"], var.identity)
    error_message = "identity must be \"irsa\" or \"pod-identity\"."
  }
}

variable "public_access_cidrs" {
  description = "From where the API server may be reached over the internet."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "workers" {
  description = "Sizes of the workers' Auto Scaling group."
  type        = object({ min = number, max = number, desired = number })
  default     = { min = 2, max = 10, desired = 3 }
}

variable "instance_type" {
  description = "The workers' instance type, x86-64 or Graviton."
  type        = string
  default     = "m6i.large"
}

variable "max_pods" {
  description = "Pods for each worker: as many as its /24 has addresses, at most."
  type        = number
  default     = 110

  validation {
    condition     = var.max_pods >= 1 && var.max_pods <= 250
    error_message = "max_pods must be 1 to 250: a node's /24 has no more addresses."
  }
}

variable "coredns" {
  description = "Install CoreDNS. Only once cloudroute runs: set it in a second apply."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags for everything that is made here."
  type        = map(string)
  default     = {}
}
