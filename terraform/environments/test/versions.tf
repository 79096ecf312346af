# No lock file is kept, so that a mirror can stand in for the registry: keep one beside a root of your own.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}
