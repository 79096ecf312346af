"""The leader: lease, loop, apply. It knows the outside only through `ports`."""
