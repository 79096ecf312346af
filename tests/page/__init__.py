"""The status page: what it is composed from, how it is served, and how it looks in a real browser."""
