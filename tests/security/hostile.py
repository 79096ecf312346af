"""Objects as an attacker would write them: fields that the API server accepts, and malformed ones.

Names, uids, versions and times are set by the server and always valid; all else may be anything.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

LAN = "10.0.0.0/16"
"""CIDR of the VPC."""
POOL, POOL6 = "100.64.0.0/16", "fd00:64::/64"
RESERVED = "100.64.200.0/21"

WORDS = (
    "", " ", "\n", "\x00", "\x1b[2J", "\u2028", "é", "💥", "$(reboot)", "`reboot`", "; reboot #", "' OR 1=1 --",
    "} add rule inet cloudroute pods accept", "\nflush ruleset\n", "../../etc/passwd", "a" * 5000, "%s%n{0}", "-1",
    "null", "*",
)  # fmt: skip
CIDRS = (
    "100.64.0.0/24", "100.64.1.0/24", "fd00:64::/80", "0.0.0.0/0", "::/0", "0.0.0.0/1", LAN, "10.0.0.0/8",
    "10.0.1.0/24", "10.96.0.0/12", "10.96.7.0/24", POOL, POOL6, "100.64.0.0/17", "100.64.9.0/24", "100.64.9.7/24",
    "100.64.9.0/25", "100.64.9.0", "100.64.9.0/255.255.255.0", "100.64.9.0/33", "100.64.9.0/-1", "100.64.9.0/24\n",
    "100.64.9.0/24; flush ruleset", "100.64.201.0/24", "100.65.9.0/24", "169.254.0.0/16", "169.254.169.254/32",
    "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "fd00:64:0:0:9::/80", "fd00:64:0:0:9::1/80",
    "fd00:64:0:0:9::/81", "fd00:65:0:0:9::/80", "fe80::/64", "fe80::%eth0/64", "::ffff:100.64.9.0/120", "ff00::/8",
    "::1/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
)  # fmt: skip
ADDRESSES = (
    "0.0.0.0", "127.0.0.1", "169.254.169.254", "169.254.169.253", "224.0.0.1", "255.255.255.255", "8.8.8.8", "10.0.0.1",
    "10.0.0.2", "10.0.0.254", "10.0.0.300", "010.0.0.1", "10.0.0.1/24", "10.0.0.1\n", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fd01::1%eth0; reboot", "::ffff:10.0.0.9", "ff02::1", "fd00:ec2::254", "fd01::1", "2001:db8::7",
)  # fmt: skip
IDS = (
    "i-1", "i-zzzz", "i-0123456789abcdef", "I-0123456789ABCDEF0", "i-0123456789abcdef0\n", "eni-0123456789abcdef0",
    "i-0123456789abcdef0,i-0123456789abcdef1", "*", "i-*",
)  # fmt: skip

anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def mostly(sound: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A valid value, or anything."""
    return st.one_of(sound, sound, sound, anything)


def texts(*lists: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([word for words in lists for word in words])


def some(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return mostly(st.lists(mostly(of), max_size=most))


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any subset of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def specs_of_nodes(instances: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """spec, status and metadata of a Node; `instances` are ids to claim."""
    claimed = st.sampled_from([f"aws:///us-east-1a/{id_}" for id_ in instances])
    provider = st.one_of(claimed, claimed, texts(WORDS, IDS).map(lambda word: f"aws:///us-east-1a/{word}"), texts(IDS))
    address = maybe(type=mostly(st.just("InternalIP")), address=mostly(texts(ADDRESSES)))
    condition = maybe(
        type=mostly(st.just("NetworkUnavailable")), status=texts(WORDS), reason=texts(WORDS), message=anything
    )
    return st.fixed_dictionaries(
        {
            "spec": mostly(
                maybe(providerID=mostly(provider), podCIDRs=some(texts(CIDRS, WORDS), 2), podCIDR=texts(CIDRS))
            ),
            "status": mostly(maybe(addresses=some(address, 4), conditions=some(condition))),
            "annotations": mostly(st.dictionaries(st.just("cloudroute.io/priority"), mostly(texts(WORDS, ("9" * 9,))))),
            "labels": mostly(st.dictionaries(st.just("topology.kubernetes.io/zone"), mostly(texts(WORDS)))),
        }
    )


def credible_nodes(instances: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Nodes with valid fields and false claims."""
    address = st.fixed_dictionaries({"type": st.just("InternalIP"), "address": texts(ADDRESSES)})
    spec = st.fixed_dictionaries(
        {"providerID": st.sampled_from([f"aws:///us-east-1a/{id_}" for id_ in instances])},
        optional={"podCIDRs": st.lists(texts(CIDRS), min_size=1, max_size=2)},
    )
    return st.fixed_dictionaries(
        {
            "spec": spec,
            "status": st.fixed_dictionaries({"addresses": st.lists(address, max_size=3)}),
            "annotations": st.fixed_dictionaries({"cloudroute.io/priority": st.sampled_from(["0", "9", "-1"])}),
            "labels": st.just({}),
        }
    )


def specs_of_node_routes(address: st.SearchStrategy[str], cidr: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """spec and status of a NodeRoute, valid by the CRD or not."""
    tables = st.lists(st.sampled_from(["rtb-1", "rtb-2", "rtb-9", "*", ""]), max_size=3)
    spec = maybe(
        podCIDRs=some(cidr, 3),
        nodeIPs=some(address, 3),
        instanceID=mostly(texts(IDS)),
        networkInterfaceID=mostly(texts(("eni-00000009", "eni-1; reboot"))),
        subnetID=mostly(texts(("subnet-1", "", "subnet-9"))),
        routeTableID=mostly(texts(("rtb-1", "rtb-2", ""))),
        nativeIn=mostly(tables),
    )
    status = maybe(ready=anything, reason=anything, message=anything, path=anything, paths=anything, since=anything)
    return st.fixed_dictionaries({"spec": mostly(spec), "status": mostly(status)})


def node(name: str, number: int, body: dict[str, Any]) -> dict[str, Any]:
    """A Node with the metadata that the server sets."""
    return {"metadata": {**meta(name, number), **{key: body[key] for key in ("annotations", "labels")}}, **body}


def meta(name: str, number: int) -> dict[str, Any]:
    created = f"2026-02-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": str(1000 + number), "creationTimestamp": created}


def is_clean(words: str) -> bool:
    """Whether text is safe in a log line and an Event: short, on one line, without control characters."""
    return len(words) <= 2048 and words.isprintable()
