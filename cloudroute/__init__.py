"""Pod networking for Kubernetes on EC2 that uses the VPC itself."""

__version__ = "0.1.0"
