"""Mutations of the adapters."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_EC2 = "cloudroute/adapters/ec2"
_KUBE = "cloudroute/adapters/kube"
_NETLINK = "cloudroute/adapters/netlink"
_NFT = "cloudroute/adapters/nft"
_CNI = "cloudroute/adapters/cni"

ADAPTERS = (
    Mutation(
        "After a throttling answer the model is ahead of AWS's bucket, and is throttled again.",
        f"{_EC2}/budget.py",
        "min(level, -BUCKETS[action].margin)",
        "min(level, 0.0)",
        ("tests/adapters/ec2/test_budget.py",),
    ),
    Mutation(
        "A throttling answer does not slow the calls down.",
        f"{_EC2}/calls.py",
        "self._budget.throttled(action)",
        "pass",
        ("tests/adapters/ec2/test_calls.py", "tests/adapters/ec2/test_reads.py"),
    ),
    Mutation(
        "A read is tried again after half a minute although the loop waits for it.",
        f"{_EC2}/calls.py",
        "return too_late or state.attempt_number >= attempts",
        "return state.attempt_number >= attempts",
        ("tests/adapters/ec2/test_calls.py",),
    ),
    Mutation(
        "A propagated route hides the static one with its destination.",
        f"{_EC2}/parse.py",
        "if route.destination not in routes or not route.propagated:",
        "if route:",
        ("tests/adapters/ec2/test_parse.py",),
    ),
    Mutation(
        "On an instance with two network cards, routes lead to the second one.",
        f"{_EC2}/parse.py",
        '(int(attachment.get("NetworkCardIndex") or 0), device_index), interface',
        "(device_index, 0), interface",
        ("tests/adapters/ec2/test_parse.py",),
    ),
    Mutation(
        "While an association is being made, its subnet's nodes are looked for in the main table.",
        f"{_EC2}/parse.py",
        'state in ("associated", "associating")',
        'state == "associated"',
        ("tests/adapters/ec2/test_parse.py",),
    ),
    Mutation(
        "A CIDR that a subnet has lost counts as its own: pods keep an address toward it that has no way back.",
        f"{_EC2}/parse.py",
        '.get("State", "associated") == "associated"',
        '.get("State", "associated") != ""',
        ("tests/adapters/ec2/test_parse.py",),
    ),
    Mutation(
        "A write whose connection broke is sent again, and refused as a conflict with itself.",
        f"{_KUBE}/transport.py",
        "retries=False,",
        "retries=urllib3.Retry(3, allowed_methods=None),",
        ("tests/adapters/kube/test_transport.py",),
    ),
    Mutation(
        "A change of the CNI configuration while it is read is never seen.",
        f"{_CNI}/files.py",
        "            self._known |= {path: _look(path) for path in paths}\n"
        "            return {path: content for path in paths if (content := _content(path)) is not None}",
        "            found = {path: content for path in paths if (content := _content(path)) is not None}\n"
        "            self._known |= {path: _look(path) for path in paths}\n"
        "            return found",
        ("tests/adapters/cni/test_files.py::test_a_change_while_a_file_is_read_is_seen",),
    ),
    Mutation(
        "A watch that was good does not end the back-off: after a few outages each one costs eight seconds.",
        f"{_KUBE}/reflector.py",
        "            if self._watch_succeeded:\n                delays = _delays()\n            else:",
        "            if not self._watch_succeeded:",
        ("tests/adapters/kube/test_reflector.py",),
    ),
    Mutation(
        "After a restart of the API server, the next list waits for the back-off of the outage.",
        f"{_KUBE}/reflector.py",
        "if away > 1:",
        "if away < 0:",
        ("tests/adapters/kube/test_reflector.py",),
    ),
    Mutation(
        "The late answer to a write brings a deleted object back.",
        f"{_KUBE}/stores.py",
        "self._ahead.get(meta.name, 0)) and meta.uid not in self._gone",
        "self._ahead.get(meta.name, 0))",
        ("tests/adapters/kube/test_stores.py",),
    ),
    Mutation(
        "A list undoes a write that it does not show yet.",
        f"{_KUBE}/stores.py",
        "if meta.name not in self._ahead and meta.uid not in self._gone:",
        "if meta.uid not in self._gone:",
        ("tests/adapters/kube/test_stores.py",),
    ),
    Mutation(
        "An Event that the API server refused once is never written.",
        f"{_KUBE}/events.py",
        "self._said.pop(_subject(notice), None)",
        "pass",
        ("tests/adapters/kube/test_events.py",),
    ),
    Mutation(
        "`lastTransitionTime` moves although the condition's status stays.",
        f"{_KUBE}/client.py",
        "if node.condition is None or node.condition.status != condition.status:",
        "if node:",
        ("tests/adapters/kube/test_client.py",),
    ),
    Mutation(
        "A deletion that found an object made anew under the name fails in each cycle.",
        f"{_KUBE}/client.py",
        'error.code != "404" and self._uid(path) == uid:',
        'error.code != "404":',
        ("tests/contract/test_adapter.py",),
    ),
    Mutation(
        "`path` takes a pod on the host network for the owner of its node's address.",
        f"{_KUBE}/client.py",
        " and not pod.host_network:",
        ":",
        ("tests/adapters/kube/test_client.py",),
    ),
    Mutation(
        "A route of another type of service hides that ours is missing.",
        f"{_NETLINK}/routes.py",
        "if tos or table not in",
        "if table not in",
        ("tests/adapters/netlink/test_foreign.py", "tests/adapters/netlink/test_tables.py"),
    ),
    Mutation(
        "A nexthop that is not onlink counts as right.",
        f"{_NETLINK}/nexthops.py",
        "device and flags & ONLINK and not encapsulation",
        "device and not encapsulation",
        ("tests/adapters/netlink/test_foreign.py", "tests/adapters/netlink/test_tables.py"),
    ),
    Mutation(
        "A second destination of a peer's MAC gets a copy of each packet, unseen.",
        f"{_NETLINK}/neighbours.py",
        '_destination(fields) if mac not in found else b""',
        "_destination(fields)",
        ("tests/adapters/netlink/test_foreign.py", "tests/adapters/netlink/test_tables.py"),
    ),
    Mutation(
        "The VXLAN device learns peers from packets: a forged one redirects a peer's traffic.",
        f"{_NETLINK}/links.py",
        'wire.attribute(devices.VXLAN_LEARNING, b"\\0")',
        'wire.attribute(devices.VXLAN_LEARNING, b"\\1")',
        ("tests/adapters/netlink/test_links.py",),
    ),
    Mutation(
        "An agent does not see that the default route has changed.",
        f"{_NETLINK}/sieve.py",
        "                _Test(_BYTE, 17, _EQUAL, (0,)),  # a default route: length 0\n",
        "",
        ("tests/adapters/netlink/test_listen.py",),
    ),
    Mutation(
        "Two pods' connections to one destination get the same port in a race: packets are lost.",
        f"{_NFT}/ruleset.py",
        '{"masquerade": {"flags": "fully-random"}}',
        '{"masquerade": None}',
        ("tests/adapters/nft/test_ruleset.py",),
    ),
    Mutation(
        "A masqueraded packet of a pod that comes by a tunnel's port is not tracked: its answer is lost.",
        f"{_NFT}/ruleset.py",
        '        yield _rule("received", _inside("saddr", pods), {"return": None})',
        "        list(pods)",
        ("tests/adapters/nft/test_table.py", "tests/adapters/nft/test_packets.py"),
    ),
    Mutation(
        "A configuration with the name of ours is reported to hide ours.",
        f"{_CNI}/installed.py",
        "name < CONFLIST",
        "name <= CONFLIST",
        ("tests/adapters/cni/test_installed.py",),
    ),
    Mutation(
        "A node's own plugin that is a link to nowhere gets a program of ours, and a failure is told.",
        f"{_CNI}/install.py",
        "there = os.path.lexists(link)",
        "there = os.path.exists(link)",
        ("tests/adapters/cni/test_install.py",),
    ),
    Mutation(
        "After a crash of the machine the CNI configuration may be empty.",
        f"{_CNI}/files.py",
        "os.fsync(descriptor)  #",
        "pass  #",
        ("tests/adapters/cni/test_files.py::test_a_file_is_on_the_disk_before_it_has_its_name",),
    ),
    Mutation(
        "A sysctl of a device that was made anew reads as missing.",
        "cloudroute/adapters/sysctl.py",
        "for _ in range(2):",
        "for _ in range(1):",
        ("tests/adapters/test_sysctl.py",),
    ),
    Mutation(
        "Each write of a rule adds one more.",
        "cloudroute/adapters/netlink/rules.py",
        "wire.CREATE | wire.EXCL, put)",
        "wire.CREATE, put)",
        ("tests/adapters/netlink/test_transit.py",),
    ),
    Mutation(
        "A rule with one more condition counts as ours: packets that it leaves out are not forwarded.",
        "cloudroute/adapters/netlink/rules.py",
        "or any(kind in found for kind in _OTHERS)",
        "",
        ("tests/adapters/netlink/test_transit.py",),
    ),
    Mutation(
        "Packets of pods in transit are counted as the VPC's too.",
        "cloudroute/adapters/nft/ruleset.py",
        'count, {"notrack": None}, {"return": None})',
        'count, {"notrack": None})',
        ("tests/adapters/nft/test_transit.py",),
    ),
    Mutation(
        "A gateway tracks packets in transit: kube-proxy drops most of them.",
        "cloudroute/adapters/nft/ruleset.py",
        '{"counter": TRANSIT["vpc"]}, {"notrack": None})',
        '{"counter": TRANSIT["vpc"]})',
        ("tests/adapters/nft/test_transit.py",),
    ),
)
