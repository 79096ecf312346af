"""Rules over several settings, and over settings and the VPC or cluster.

A rule names the fields that it uses, so that it is skipped where one of them could not be parsed.
`said(field, index)` returns a value as it was given: `--cluster-cidr 10.0.0.0/8`, `CLOUDROUTE_ROUTE_LIMIT=5`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from cloudroute.config.settings import JITTER, MARGIN_SECONDS, AgentSettings, ControllerSettings, SharedSettings
from cloudroute.types import LEAST_IPV6_MTU, NEVER_ROUTED, Cidr

Said: TypeAlias = Callable[[str, int], str]


class Rule(NamedTuple):
    """`broken` yields a sentence per violation; `kind` is the class that declares all `fields`."""

    kind: type
    fields: tuple[str, ...]
    broken: Callable[..., Iterator[str]]


def _pools_are_usable(settings: SharedSettings, said: Said) -> Iterator[str]:
    for index, pool in enumerate(settings.cluster_cidr):
        for range_ in NEVER_ROUTED:
            if pool.overlaps(range_):
                yield f"{said('cluster_cidr', index)}: expected no part of {range_}, which no VPC carries"


def _pools_are_apart(settings: SharedSettings, said: Said) -> Iterator[str]:
    for (i, one), (j, other) in itertools.combinations(enumerate(settings.cluster_cidr), 2):
        if one.overlaps(other):
            yield (
                f"{said('cluster_cidr', j)}: expected pools that share no address, but it overlaps "
                f"{said('cluster_cidr', i)}"
            )


def _pools_hold_a_node(settings: SharedSettings, said: Said) -> Iterator[str]:
    for index, pool in enumerate(settings.cluster_cidr):
        mask = "node_mask_v4" if pool.family == "ipv4" else "node_mask_v6"
        if pool.length > settings.node_mask(pool.family):
            yield (
                f"{said('cluster_cidr', index)}: expected a pool at least as large as one node's pod CIDR, "
                f"which {said(mask, 0)} makes a /{settings.node_mask(pool.family)}"
            )


def _pools_can_be_split(settings: ControllerSettings, said: Said) -> Iterator[str]:
    if not settings.has_gateways:
        return
    for index, pool in enumerate(settings.cluster_cidr):
        nodes = 1 << max(0, settings.node_mask(pool.family) - pool.length)
        if nodes <= settings.gateway_routes:
            yield (
                f"{said('gateway_routes', 0)}: expected parts of {said('cluster_cidr', index)} that hold more than "
                f"one node's pod CIDR each, but it holds {nodes} in all"
            )


def _reserved_lies_in_a_pool(settings: ControllerSettings, said: Said) -> Iterator[str]:
    for index, reserved in enumerate(settings.reserved_cidr):
        if not any(pool.covers(reserved) for pool in settings.cluster_cidr):
            yield (
                f"{said('reserved_cidr', index)}: expected part of a --cluster-cidr "
                f"({', '.join(map(str, settings.cluster_cidr)) or 'none is set'}); outside of them no node gets any"
            )


def _reserve_leaves_routes(settings: ControllerSettings, said: Said) -> Iterator[str]:
    if settings.route_limit != "auto" and settings.route_reserve >= settings.route_limit:
        yield f"{said('route_reserve', 0)}: expected less than {said('route_limit', 0)}, or no node gets a route"


def _lease_outlasts_renewal(settings: ControllerSettings, said: Said) -> Iterator[str]:
    if settings.lease_duration < settings.renew_deadline + MARGIN_SECONDS:
        yield (
            f"{said('lease_duration', 0)}: expected at least {MARGIN_SECONDS:g} s more than "
            f"{said('renew_deadline', 0)}, so that a leader's last write to AWS ends before another may lead"
        )


def _renewal_is_retried(settings: ControllerSettings, said: Said) -> Iterator[str]:
    if settings.renew_deadline <= settings.retry_period * JITTER:
        yield (
            f"{said('renew_deadline', 0)}: expected more than {JITTER:g} times {said('retry_period', 0)}, "
            f"or the lease runs out before it is renewed"
        )


def _agent_knows_its_node(settings: AgentSettings, said: Said) -> Iterator[str]:  # noqa: ARG001 - nothing to quote
    if not settings.node_name and not settings.cleanup:
        yield (
            "--node-name is missing: expected it as a flag, as CLOUDROUTE_NODE_NAME (in a pod: from spec.nodeName) or "
            "in the file that --config names"
        )


def _mtu_carries_ipv6(settings: AgentSettings, said: Said) -> Iterator[str]:
    ipv6 = [index for index, pool in enumerate(settings.cluster_cidr) if pool.family == "ipv6"]
    if ipv6 and settings.mtu != "auto" and settings.mtu < LEAST_IPV6_MTU:
        yield (
            f"{said('mtu', 0)}: expected at least {LEAST_IPV6_MTU}, the least that IPv6 works with, since "
            f"{said('cluster_cidr', ipv6[0])} is IPv6"
        )


RULES = (
    Rule(SharedSettings, ("cluster_cidr",), _pools_are_usable),
    Rule(SharedSettings, ("cluster_cidr",), _pools_are_apart),
    Rule(SharedSettings, ("cluster_cidr", "node_mask_v4", "node_mask_v6"), _pools_hold_a_node),
    Rule(AgentSettings, ("node_name", "cleanup"), _agent_knows_its_node),
    Rule(AgentSettings, ("mtu", "cluster_cidr"), _mtu_carries_ipv6),
    Rule(
        ControllerSettings,
        ("cluster_cidr", "node_mask_v4", "node_mask_v6", "gateway_nodes", "gateway_routes"),
        _pools_can_be_split,
    ),
    Rule(ControllerSettings, ("cluster_cidr", "reserved_cidr"), _reserved_lies_in_a_pool),
    Rule(ControllerSettings, ("route_limit", "route_reserve"), _reserve_leaves_routes),
    Rule(ControllerSettings, ("lease_duration", "renew_deadline"), _lease_outlasts_renewal),
    Rule(ControllerSettings, ("renew_deadline", "retry_period"), _renewal_is_retried),
)


def check_overlap(settings: SharedSettings, what: str, cidrs: Iterable[Cidr]) -> list[str]:
    """Return a sentence for each pool that overlaps one of `cidrs`, which belong to `what`.

    >>> from cloudroute.config.settings import SharedSettings
    >>> settings = SharedSettings(cluster_cidr=(Cidr.parse("10.96.0.0/16"),))
    >>> check_overlap(settings, "the Services", [Cidr.parse("10.96.0.0/12")])
    ['--cluster-cidr 10.96.0.0/16: expected a range of its own, but it overlaps 10.96.0.0/12 of the Services']
    """
    return [
        f"--cluster-cidr {pool}: expected a range of its own, but it overlaps {cidr} of {what}"
        for pool in settings.cluster_cidr
        for cidr in cidrs
        if pool.overlaps(cidr)
    ]


def check_against_vpc(settings: SharedSettings, vpc_cidrs: Iterable[Cidr]) -> list[str]:
    """The same for the CIDRs of the VPC: within them a route table accepts only whole subnets as destinations."""
    return check_overlap(settings, "the VPC", vpc_cidrs)
