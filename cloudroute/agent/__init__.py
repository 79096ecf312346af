"""The node agent: keeps the kernel of its node in line with the NodeRoutes.

    NodeRoutes, RouteTables, NIC ──compose (core)──▶ wanted ─┐
    kernel ──read──▶ actual ─────────────────────────────────┴─▶ difference ──write──▶ kernel, conflist ──▶ status

`sync` holds a tracker per kind of kernel object, `loop` decides when each kind is read and compared, `report` writes
the result to the status of the node's NodeRoute, `process` runs the threads. `core.node.startup` draws the order in
which an agent may write. The kernel and Kubernetes are reached through `ports.Kernel` and `ports.Agents` only.
"""
