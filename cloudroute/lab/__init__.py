"""The embedded AWS and Kubernetes: for the demo, for tests, and for anybody who wants to try without an account."""
