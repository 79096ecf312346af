"""The kernel's network tables by rtnetlink, packed by hand: a netlink package would take more memory than the agent.

    channel    one socket for requests: bulk writes with a barrier per chunk, dumps
       ├── devices    devices by name or index
       ├── links, addresses, bridges, neighbours (FDB too), nexthops, routes: a `ports.KindDriver` each
       ├── host       facts of the NIC
       └── listen     changes by others, from multicast events that `sieve` filters in the kernel

`wire` packs and parses. `netlink.Netlink` joins all that; it belongs to the network namespace in which it was made,
whichever thread uses it later.
"""
