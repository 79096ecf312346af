"""The kernel's network tables by rtnetlink, hand-packed: importing a netlink package costs more memory than the agent.

    channel ── one socket for requests: bulk writes with a barrier per chunk, dumps
        ├── devices ────── which device a name or an index means, and what it is
        ├── links, addresses, neighbours (FDB too), nexthops, routes        a `ports.KindDriver` each
        ├── host ───────── facts of the NIC
        └── listen ─────── what others change, told by multicast and sifted in the kernel by `sieve`

`wire` packs and parses. `netlink.Netlink` joins all that; it belongs to the network namespace it was made in, whichever
thread uses it later.
"""
