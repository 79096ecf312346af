"""One run of `cloudroute verify`, from the choice of nodes to the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

from cloudroute import wiring
from cloudroute.adapters.kube.pods import Execution, Pods
from cloudroute.config import ControllerSettings
from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.explain.doctor.facts import Facts, Workload
from cloudroute.core.explain.doctor.findings import Finding, Unknown, listed
from cloudroute.core.explain.doctor.networks import agents_keep_source
from cloudroute.core.explain.doctor.policies import enforcers
from cloudroute.core.paths import node_paths
from cloudroute.core.verify.causes import explained
from cloudroute.core.verify.coverage import coverage
from cloudroute.core.verify.evidence import Evidence
from cloudroute.core.verify.judge import collected
from cloudroute.core.verify.model import Answer, Asker, NodeFacts, Outcome, Question, Role
from cloudroute.core.verify.questions import Scene, questions, streams
from cloudroute.core.verify.sample import Sample, choose
from cloudroute.core.verify.ways import Passage, ways
from cloudroute.errors import ApiError, CloudrouteError, UsageError
from cloudroute.types import NodeRoute, RouteTableObject, family_of
from cloudroute.verify import manifests
from cloudroute.verify.disrupt import disrupt
from cloudroute.verify.nodes import node_facts
from cloudroute.verify.options import VerifyOptions
from cloudroute.verify.policies import policies
from cloudroute.verify.stage import Say, Stage
from cloudroute.verify.webhooks import webhooks

OUTSIDE = "checkip.amazonaws.com"
"""A name of the internet that resolves everywhere, and a host that answers on port 80."""
_READY_SECONDS = 20.0
_POLICY_ASKERS = 2
"""Pods from which a denied pod is asked."""
_ROLES: tuple[Role, ...] = ("pod", "second")
_KUBERNETES = "/api/v1/namespaces/default/services/kubernetes"
_DNS_SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"


class Diagnosis(NamedTuple):
    """Facts and findings of doctor."""

    facts: Facts
    findings: Sequence[Finding]


class Cluster(NamedTuple):
    """State that the controller has published."""

    routes: Mapping[str, NodeRoute]
    tables: Mapping[str, RouteTableObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Results of a run."""

    sample: Sample
    outcomes: Sequence[Outcome]
    cluster: Cluster
    states: Mapping[str, Answer]
    """Kernel state of the nodes of failed checks."""
    image: str
    """Of the agents, and so of the pods."""
    diagnosis: Diagnosis | None
    """Of doctor, where a check failed or a report is wanted."""


def verify(
    settings: ControllerSettings, options: VerifyOptions, diagnose: Callable[[], Diagnosis], say: Say
) -> Verdict:
    """Run all checks. `diagnose` runs doctor's, once something has failed. Raises CloudrouteError, UsageError."""
    with wiring.observed(settings) as observed:
        cluster = Cluster(observed.node_routes.items(), observed.route_table_objects.items())
    pods = Pods(settings.kubeconfig or None)
    try:
        nodes = node_facts(pods)
        sample = sampled(nodes, options, cluster.routes)
        say(f"{len(sample.nodes)} of {len(cluster.routes)} nodes: {', '.join(sample.nodes)}")
        for kind, value in sample.missing:
            say(f"not in the sample: {kind} {value}; a larger --sample has it")
        with Stage(pods, settings.namespace, say, keep=options.keep) as stage:
            meant = [node for node in nodes if not options.nodes or node.name in sample.nodes]
            covered = coverage(meant, cluster.routes, sample.nodes, stage.agents)
            outcomes = collected(chain(covered, _Run(stage, sample, options, cluster, say).outcomes()))
            verdict = _explain(stage, sample, options, cluster, outcomes, diagnose)
        if not options.keep:
            stage.await_end()
        return verdict
    finally:
        pods.close()


def sampled(nodes: Sequence[NodeFacts], options: VerifyOptions, routes: Mapping[str, NodeRoute]) -> Sample:
    """Choose the nodes. Raises UsageError for unknown ones, CloudrouteError where none can be tried."""
    names = {node.name for node in nodes}
    if unknown := [name for name in options.nodes if name not in names]:
        raise UsageError([f"--nodes {name}: no Node has this name; cloudroute status lists them" for name in unknown])
    if without := [name for name in options.nodes if name not in routes]:
        raise CloudrouteError(f"{', '.join(without)}: no NodeRoute yet: is the controller running?")
    if options.nodes:
        return Sample(tuple(sorted(set(options.nodes))), ())
    specs = {name: route.spec for name, route in routes.items()}
    sample = choose([node for node in nodes if node.ready], specs, options.sample)
    if not sample.nodes:
        raise CloudrouteError("no node is Ready and has a NodeRoute: see cloudroute status and cloudroute doctor")
    return sample


def _explain(
    stage: Stage,
    sample: Sample,
    options: VerifyOptions,
    cluster: Cluster,
    outcomes: Sequence[Outcome],
    diagnose: Callable[[], Diagnosis],
) -> Verdict:
    """Look for the causes of what failed, while the pods are still there."""
    nodes = sorted({node for one in outcomes if one.result == "failed" for node in one.nodes} & stage.agents.keys())
    told = stage.tell([Asker(node, "node") for node in nodes], "state")
    states = {asker.node: answer for asker, answer in told.items()}
    failed = any(one.result == "failed" for one in outcomes)
    diagnosis = diagnose() if failed or options.report else None
    findings = diagnosis.findings if diagnosis else ()
    evidence = Evidence(
        outcomes=outcomes,
        states=states,
        findings={finding.check: finding for finding in findings if finding.state in ("failed", "warning")},
        pod_cidrs={name: [str(cidr) for cidr in route.spec.pod_cidrs] for name, route in cluster.routes.items()},
        agent_troubles={
            name: trouble for name, route in cluster.routes.items() if (trouble := agent_trouble(route.status))
        },
        checked=_checked(diagnosis.facts) if diagnosis else frozenset(),
        changed=_changed(stage.pods, cluster.routes) if failed else frozenset(),
        dns_ready=dns_ready(stage.pods),
    )
    return Verdict(
        sample=sample,
        outcomes=explained(evidence),
        cluster=cluster,
        states=states,
        image=stage.image.reference,
        diagnosis=diagnosis,
    )


def _changed(pods: Pods, before: Mapping[str, NodeRoute]) -> frozenset[str]:
    """Return the nodes whose NodeRoute is another one by now, as far as that can be read."""
    try:
        now = pods.node_routes()
    except ApiError:
        return frozenset()
    return frozenset(name for name in before if name not in now or now[name].spec != before[name].spec)


def _checked(facts: Facts) -> frozenset[str]:
    """Return the nodes whose source/dest check is on, as far as they are known."""
    nodes, instances = facts.kubernetes.nodes, facts.aws.instances
    if isinstance(nodes, Unknown) or isinstance(instances, Unknown):
        return frozenset()
    primary = {name: one.primary for name, node in nodes.items() if (one := instances.get(node.instance_id))}
    return frozenset(name for name, interface in primary.items() if interface and interface.source_dest_check)


def api_server(pods: Pods) -> tuple[str, ...]:
    """Return the addresses of the Service `kubernetes`; () where this account may not read it."""
    try:
        service = pods.get(_KUBERNETES) or {"spec": {}}
    except ApiError:
        return ()
    return tuple(service["spec"].get("clusterIPs") or ())


def dns_ready(pods: Pods) -> int | None:
    """Return how many pods answer for the cluster's DNS; None where its Service has another name, or can't be read."""
    try:
        slices = list(pods.list(_DNS_SLICES, "kubernetes.io/service-name=kube-dns"))
    except ApiError:
        return None
    if not slices:
        return None
    endpoints = [one for found in slices for one in found.get("endpoints") or ()]
    return len({a for one in endpoints if one["conditions"].get("ready") for a in one["addresses"]})


class _Run:
    """The checks of one run, in order."""

    def __init__(self, stage: Stage, sample: Sample, options: VerifyOptions, cluster: Cluster, say: Say) -> None:
        self._stage, self._sample, self._options, self._cluster, self._say = stage, sample, options, cluster, say
        self._agents = sorted(stage.agents.keys() & set(sample.nodes))
        self._daemon_sets = _daemon_sets(stage.pods)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield everything that was found out."""
        askers = [Asker(node, role) for node in self._sample.nodes for role in _ROLES]
        denied = Asker(self._sample.nodes[-1], "denied")
        host_ports = [Asker(node, "host-port") for node in self._agents[:1]]
        every = [*askers, denied, *host_ports]
        most = ", all but one" if host_ports else ""
        self._say(f"starting {len(every)} pods{most} in namespace {manifests.NAMESPACE}")
        services = self._start(every)
        ready, late = self._stage.await_ready(every)
        yield from (_started(asker, late.get(asker, "")) for asker in every)
        told = self._stage.tell([asker for asker in askers if asker in ready], "self")
        yield from (_reached(asker, good=asker in told) for asker in askers if asker in ready)
        with ExitStack() as undo:
            counters = self._in_agents(undo)
            pods = {asker: ready[asker] for asker in told}
            reached = frozenset(asker.node for asker in host_ports if asker in ready)
            scene = self._scene(pods, told, services, agents=frozenset(counters), host_ports=reached)
            flows = list(streams(scene))
            yield from self._asked(scene, flows, counters)
        firsts = [asker for asker in scene.pods if asker.role == "pod"]
        if denied in ready:
            enforcer = listed(enforcers([one for one in self._daemon_sets if one.pods]))
            yield from policies(self._stage, firsts[:_POLICY_ASKERS], denied, ready[denied], enforcer)
        if self._options.webhooks:
            self._say("calling webhooks")
            paths = node_paths(scene.specs)
            yield from webhooks(self._stage, {paths[asker.node]: asker for asker in reversed(firsts)})
        if self._options.disrupt:
            self._say("restarting an agent and the leader under traffic")
            yield from disrupt(self._stage, flows, self._sample.nodes[0])

    def _start(self, askers: Sequence[Asker]) -> dict[str, tuple[str, ...]]:
        """Create pods and Services; return the Services' addresses by node."""
        for asker in askers:
            self._stage.make(manifests.probe(asker, self._stage.agents_namespace, self._stage.image))
        services: dict[str, tuple[str, ...]] = {}
        for asker in askers:
            if asker.role == "second":
                spec = self._stage.make(manifests.service(asker))["spec"]
                services[asker.node] = tuple(spec.get("clusterIPs") or ())
        return services

    def _scene(
        self,
        pods: Mapping[Asker, tuple[str, ...]],
        told: Mapping[Asker, Answer],
        services: Mapping[str, tuple[str, ...]],
        *,
        agents: frozenset[str],
        host_ports: frozenset[str],
    ) -> Scene:
        return Scene(
            specs={name: route.spec for name, route in self._cluster.routes.items()},
            tables=self._cluster.tables,
            pods=pods,
            mtus={asker: min(mtu for device, mtu in told[asker]["mtu"].items() if device != "lo") for asker in pods},
            nodes=self._sample.nodes,
            agents=agents,
            services={node: services[node] for node in services if Asker(node, "second") in pods},
            host_ports=host_ports,
            api_server=api_server(self._stage.pods),
            outside_name=OUTSIDE,
            internet=(OUTSIDE, 80),
            vpc_hosts=self._options.vpc_host,
            keeps_source=agents_keep_source(self._daemon_sets, self._stage.agents_namespace),
            seconds=self._options.seconds,
        )

    def _in_agents(self, undo: ExitStack) -> dict[str, Execution]:
        """Start an echo and counters on the nodes' own networks; return the counters. All end when `undo` closes.

        A node whose agent's container takes no commands is left out.
        """

        def start(node: str) -> Execution | None:
            try:
                for words in (("serve", "--until-eof"), ("count",)):
                    execution = self._stage.run(Asker(node, "node"), *words)
                    undo.callback(execution.close)
                    next(execution.lines(_READY_SECONDS))  # it says when it is ready
            except (CloudrouteError, StopIteration) as error:
                self._say(f"{node} itself is not asked: {error}")
                return None
            return execution  # the last one counts

        with self._stage.at_once() as pool:
            started = zip(self._agents, pool.map(start, self._agents), strict=True)
            return {node: execution for node, execution in started if execution}

    def _asked(self, scene: Scene, flows: Sequence[Question], counters: Mapping[str, Execution]) -> Iterator[Outcome]:
        asked = list(questions(scene))
        self._say(f"asking {len(asked)} questions from {len({one.asker for one in asked})} places")
        yield from settled(self._stage.ask_all(asked))
        self._say(f"{len(flows)} streams for {scene.seconds:g} s")
        yield from settled(self._stage.ask_all(flows, scene.seconds))
        passages = {node: found for node, counter in counters.items() if (found := _read(counter)) is not None}
        yield from ways(_pairs(flows, scene), passages)


def _daemon_sets(pods: Pods) -> Sequence[Workload]:
    """Read all DaemonSets; () where this account may not list them."""
    try:
        return pods.daemon_sets()
    except ApiError:
        return ()


def _pairs(flows: Iterable[Question], scene: Scene) -> Iterator[tuple[Question, str, str]]:
    for question in flows:
        target = str(question.ask["address"])
        own = [mine for mine in scene.pods[question.asker] if family_of(mine) == family_of(target)]
        yield question, own[0], target


def _read(counter: Execution) -> list[Passage] | None:
    """Return what a node counted; None where its agent's container has ended meanwhile."""
    try:
        counter.send("read")
        return [Passage(*entry) for entry in next(counter.lines(_READY_SECONDS))["passages"]]
    except (CloudrouteError, StopIteration):
        return None


def _started(asker: Asker, problem: str) -> Outcome:
    return Outcome(
        name="pod-starts",
        source=f"node {asker.node}",
        target=str(asker),
        result="failed" if problem else "ok",
        expected="its kubelet starts the pod, and reaches it",
        got=problem or "Ready",
        nodes=(asker.node,),
    )


def _reached(asker: Asker, *, good: bool) -> Outcome:
    return Outcome(
        name="exec",
        source="API server",
        target=str(asker),
        result="ok" if good else "failed",
        expected="the API server reaches the kubelet, which runs a command in the pod",
        got="it ran" if good else "it did not run",
        nodes=(asker.node,),
    )


def settled(answers: Iterable[tuple[Question, Answer]]) -> Iterator[Outcome]:
    """Judge the answers. Where a node itself has no way out, its pods' check is skipped, not failed."""
    every = list(answers)
    nodes = {
        (question.name, question.target, question.asker.node): question.judge(answer)[0] == "ok"
        for question, answer in every
        if question.control
    }
    for question, answer in every:
        if question.control:
            continue
        outcome = Outcome.of(question, answer)
        way = nodes.get((question.name, question.target, question.asker.node), True)
        if answer.get("code") == "exec":
            outcome = replace(outcome, result="skipped")
        elif outcome.result == "failed" and not way:
            outcome = replace(outcome, result="skipped", got=f"{outcome.got}; the node itself has no way there either")
        yield outcome
