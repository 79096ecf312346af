"""Decisions of the controller: one snapshot of Kubernetes and EC2 in, one plan out."""
