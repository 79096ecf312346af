"""Decisions of an agent: NodeRoutes and the machine in, the tables of its kernel and its CNI configuration out."""
