"""Checks of the machine that doctor runs on, as a node: its kernel, its files, and other pod networks on it."""

from __future__ import annotations

from collections.abc import Callable

from cloudroute.core.explain.doctor.facts import Facts, MachineFacts, Networkd
from cloudroute.core.explain.doctor.findings import Check, Outcome, failed, known, listed, ok, warning
from cloudroute.core.node.conflist import NEEDED_PLUGINS
from cloudroute.dataplane import VXLAN_OVERHEAD, family_of_bytes

FEATURES = {
    "vxlan": "the overlay is a VXLAN device",
    "nexthop objects": "a change of path is the change of one nexthop object, which loses no packet",
    "nftables": "masquerade and counters are one nftables table",
}
"""Kernel features that are tried, with their purpose."""
FOREIGN = {"ManageForeignRoutes": ("routes", 246), "ManageForeignNextHops": ("nexthops", 256)}
"""By setting of networkd.conf: the foreign entries that networkd removes unless it is no, and the first systemd version
that has the setting."""


def _feature(name: str) -> Callable[[Facts], Outcome]:
    def look(facts: Facts) -> Outcome:
        complaint = known(known(facts.machine).tried).get(name, "it was not tried")
        if complaint:
            return failed(
                complaint,
                "use a kernel of Linux 5.3 or newer with its modules (vxlan, nf_tables), and install nft",
            )
        return ok("works: tried in a network namespace of its own")

    return look


def _net_admin(facts: Facts) -> Outcome:
    if known(facts.machine).net_admin:
        return ok("this process has NET_ADMIN")
    return failed(
        "this process lacks NET_ADMIN", "give the agent's container securityContext.capabilities.add: [NET_ADMIN]"
    )


def _sysctls(facts: Facts) -> Outcome:
    complaint = known(facts.machine).sysctls
    if complaint:
        return failed(
            complaint,
            "mount the node's /proc/sys/net into the agent's pod as the chart does, or set net.ipv4.ip_forward=1 and "
            "rp_filter=2 in the node's image",
        )
    return ok("/proc/sys/net can be written")


def _plugins(facts: Facts) -> Outcome:
    machine = known(facts.machine)
    if missing := [name for name in NEEDED_PLUGINS if name not in machine.plugins]:
        return failed(
            f"no {listed(missing)} in {listed(machine.searched)}",
            "install the CNI plugins (the agent's init container does it; Debian: containernetworking-plugins)",
        )
    return ok(f"{listed(sorted(machine.plugins))}")


def _conflist(facts: Facts) -> Outcome:
    if others := known(facts.machine).shadowing:
        return failed(
            f"{listed(others)} sort before ours", "remove them: the container runtime takes the first by name"
        )
    return ok("no other CNI configuration comes before ours")


def _devices(facts: Facts) -> Outcome:
    if devices := known(facts.machine).devices:
        return warning(
            listed(devices), "remove what a former network has left, once its pods are gone (ip link delete)"
        )
    return ok("no device of another pod network")


def _forwarding(facts: Facts) -> Outcome:
    if chains := known(known(facts.machine).forward_drop):
        return warning(
            f"{listed(chains)}: drops forwarded packets unless a rule of it allows them",
            "see that it allows the cluster CIDR from and to pods (Docker and ufw set such a policy)",
        )
    return ok("no firewall's policy drops what is forwarded")


def judge_networkd(networkd: Networkd | None) -> Outcome:
    """Outcome for our entries that a restart of networkd removes, with the drop-in that keeps them."""
    if networkd is None:
        return ok("systemd-networkd is not at work here")
    name = f"systemd-networkd {networkd.version}"
    missing = [one for one, (_, since) in FOREIGN.items() if since <= networkd.version and one not in networkd.off]
    if missing:
        lines = " and ".join(f"{one}=no" for one in missing)
        return warning(
            f"{name} removes {listed([FOREIGN[one][0] for one in missing])} of others when it starts again",
            f"write [Network], {lines} into /etc/systemd/networkd.conf.d/80-cloudroute.conf, each on a line of its own",
        )
    taken = [what for what, since in FOREIGN.values() if since > networkd.version]
    if taken:
        return ok(f"{name} can't be kept from {listed(taken)} when it starts again: the agent puts them back at once")
    return ok(f"{name} leaves routes and nexthops of others alone")


def _nic(facts: Facts) -> Outcome:
    machine: MachineFacts = known(facts.machine)
    host = known(machine.host)
    if not host.up:
        return failed(f"{host.interface} is down", f"ip link set {host.interface} up")
    overhead = max((VXLAN_OVERHEAD[family_of_bytes(address)] for address, _ in host.addresses[:1]), default=50)
    routes = facts.kubernetes.node_routes
    peers = sorted(
        {m for r in routes.values() if isinstance(m := r.status.get("mtu"), int)} if isinstance(routes, dict) else ()
    )
    own = host.mtu - overhead
    words = f"{host.interface} has MTU {host.mtu}, so its pods get {own}"
    if peers and own not in peers:  # the check `mtu` reports differences among the other nodes
        return warning(
            f"{words}; those of other nodes have {listed(map(str, peers))}",
            "give the NICs of all nodes one MTU",
        )
    return ok(words)


def _networkd(facts: Facts) -> Outcome:
    return judge_networkd(known(known(facts.machine).networkd))


CHECKS: tuple[Check[Facts], ...] = (
    Check("Node", "nic", "it carries all traffic between nodes, and its MTU decides that of pods", _nic),
    Check("Node", "net-admin", "without it the kernel takes no route from the agent", _net_admin),
    *(Check("Node", name.replace(" ", "-"), why, _feature(name)) for name, why in FEATURES.items()),
    Check("Node", "sysctls", "without forwarding the kernel drops every packet between pod and NIC", _sysctls),
    Check("Node", "cni-plugins", "the container runtime gives pods their addresses by them", _plugins),
    Check("Node", "cni-configuration", "pods would get another network's addresses", _conflist),
    Check(
        "Node", "other-devices", "another tunnel with our port and id takes our packets, its routes hide ours", _devices
    ),
    Check("Node", "networkd", "packets are lost until the agent has put back what it removes", _networkd),
    Check("Node", "forwarding", "a firewall that drops by default loses pods' packets without a word", _forwarding),
)
