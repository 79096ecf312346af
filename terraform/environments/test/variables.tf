variable "endpoint" {
  description = "Where `cloudroute lab aws` answers."
  type        = string
  default     = "http://127.0.0.1:5000"

  validation {
    condition     = can(regex("^http://[^/]+$", var.endpoint))
    error_message = "endpoint must be the URL that `cloudroute lab aws` prints, like http://127.0.0.1:5000."
  }
}

variable "access_key" {
  description = "The access key id that `cloudroute lab aws` prints."
  type        = string
  default     = "AKIALABROOTUSER00000"
}

variable "region" {
  description = "The lab's region."
  type        = string
  default     = "eu-central-1"
}

variable "cluster_name" {
  description = "The cluster."
  type        = string
  default     = "test"
}

variable "pod_cidrs" {
  description = "The --cluster-cidr of cloudroute."
  type        = list(string)
  default     = ["100.64.0.0/16", "fd00:64::/48"]
}

variable "zones" {
  description = "How many zones there are."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 2, 3], var.zones)
    error_message = "zones must be 1, 2 or 3: the lab's region has no more."
  }
}

variable "nodes_per_zone" {
  description = "How many nodes each zone has."
  type        = number
  default     = 1
}

variable "nat" {
  description = "As in the module network."
  type        = string
  default     = "none"
}
