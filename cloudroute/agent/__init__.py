"""The node's side: a kernel kept equal to what the NodeRoutes say.

    NodeRoutes, RouteTables, NIC ──compose (core)──▶ wanted ─┐
    kernel ──read──▶ actual ─────────────────────────────────┴─▶ difference ──write──▶ kernel, conflist ──▶ status

`sync` holds a tracker per kind of kernel object, `loop` decides when to look at what, `report` says what it amounts
to in the node's NodeRoute, `process` joins the threads. The kernel and Kubernetes are known as `ports.Kernel` and
`ports.Agents` only.
"""
