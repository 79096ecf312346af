"""`verify --here`: the smallest form, from the pod that it runs in, which starts no other (`helm test`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace

from cloudroute import wiring
from cloudroute.adapters.kube.pods import Pods
from cloudroute.config import ControllerSettings
from cloudroute.core.verify.causes import explained
from cloudroute.core.verify.evidence import Evidence
from cloudroute.core.verify.model import Asker, Outcome
from cloudroute.core.verify.questions import Scene, from_here
from cloudroute.errors import UsageError
from cloudroute.probe import ask, own
from cloudroute.types import Cidr, NodeRouteSpec
from cloudroute.verify.nodes import node_facts
from cloudroute.verify.options import VerifyOptions
from cloudroute.verify.run import OUTSIDE, Cluster, Verdict, api_server, dns_ready, sampled
from cloudroute.verify.stage import Say


def verify_here(settings: ControllerSettings, options: VerifyOptions, say: Say) -> Verdict:
    """Ask from this pod. Raises CloudrouteError, and UsageError where this is no pod of the cluster."""
    with wiring.observed(settings) as observed:
        cluster = Cluster(observed.node_routes.items(), observed.route_table_objects.items())
    pods = Pods(settings.kubeconfig or None)
    try:
        sample = sampled(node_facts(pods), options, cluster.routes)
        specs = {name: route.spec for name, route in cluster.routes.items()}
        addresses = tuple(own.describe()["addresses"])
        asker = Asker(_node(addresses, specs), "pod")
        scene = Scene(
            specs=specs,
            tables=cluster.tables,
            pods={asker: addresses},
            nodes=sample.nodes,
            mtus={},
            services={},
            api_server=api_server(pods),
            outside_name=OUTSIDE,
            internet=(OUTSIDE, 80),
            seconds=options.seconds,
        )
        ready = dns_ready(pods)
    finally:
        pods.close()
    say(f"asking from here, a pod on {asker.node}")
    outcomes = explained(Evidence(outcomes=list(_outcomes(scene, ready)), dns_ready=ready))
    return Verdict(sample=sample, outcomes=outcomes, cluster=cluster, states={}, image="", diagnosis=None)


def _node(addresses: tuple[str, ...], specs: Mapping[str, NodeRouteSpec]) -> str:
    """Return the node whose pod CIDR holds one of the addresses. Raises UsageError."""
    mine = [Cidr.parse(str(ipaddress.ip_address(address))) for address in addresses]
    for name, spec in specs.items():
        if any(cidr.covers(address) for cidr in spec.pod_cidrs for address in mine):
            return name
    listed = ", ".join(addresses)
    raise UsageError([f"--here: expected to run in a pod on the cluster's network, and no pod CIDR holds {listed}"])


def _outcomes(scene: Scene, ready: int | None) -> Iterator[Outcome]:
    for question in from_here(scene):
        outcome = Outcome.of(question, ask.answer(dict(question.ask)))
        # DNS may be installed later: a cluster without it has a sound network.
        installed = ready or question.name != "dns-inside"
        yield outcome if installed or outcome.result == "ok" else replace(outcome, result="told")
