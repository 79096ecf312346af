variable "name" {
  description = "Name of the role, and of the instance profile."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.name))
    error_message = "name must be 1 to 64 letters, digits and +=,.@_- characters, as IAM takes them."
  }
}

variable "cluster_name" {
  description = "The cluster: routes may be changed only in tables tagged kubernetes.io/cluster/<name>. With \"pod-identity\" also the EKS cluster's name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name must be 1 to 100 letters, digits, dashes and underscores, and begin with a letter or a digit."
  }
}

variable "vpc_arn" {
  description = "The VPC outside of which nothing may be changed (vpc_arn of the module network)."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:ec2:[a-z0-9-]+:[0-9]{12}:vpc/vpc-[0-9a-f]+$", var.vpc_arn))
    error_message = "vpc_arn must be the ARN of a VPC, like arn:aws:ec2:eu-central-1:123456789012:vpc/vpc-0123456789abcdef0."
  }
}

variable "identity" {
  description = "How the controller comes by the role: \"irsa\" (IAM roles for service accounts), \"pod-identity\" (EKS Pod Identity) or \"instance-profile\" (of the instances that it runs on)."
  type        = string

  validation {
    condition     = contains(["irsa", "pod-identity", "instance-profile"], var.identity)
    error_message = "identity must be \"irsa\", \"pod-identity\" or \"instance-profile\"."
  }

  validation {
    condition     = (var.identity == "irsa") == (var.oidc_provider_arn != null)
    error_message = "identity \"irsa\" needs oidc_provider_arn, and no other takes it."
  }
}

variable "oidc_provider_arn" {
  description = "The IAM OIDC provider of the cluster, for \"irsa\"."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be the ARN of an IAM OIDC provider, like arn:aws:iam::123456789012:oidc-provider/<issuer without https://>."
  }
}

variable "namespace" {
  description = "Namespace of the controller, for \"irsa\" and \"pod-identity\"."
  type        = string
  default     = "cloudroute"
}

variable "service_account" {
  description = "ServiceAccount of the controller, for \"irsa\" and \"pod-identity\"."
  type        = string
  default     = "cloudroute-controller"
}

variable "tags" {
  description = "Tags for everything that is made here."
  type        = map(string)
  default     = {}
}
