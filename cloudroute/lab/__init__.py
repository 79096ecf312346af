"""The embedded AWS and Kubernetes: for the demo, for tests, and for a trial without an account."""
