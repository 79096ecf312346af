"""The pods of one run: made, waited for, asked, and removed, whatever happens.

Two ways lead into a node: `exec` into a probe's pod, and `exec` into the agent's container, which is on the node's
network. A question that can't be asked is left out, and reported.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from cloudroute.adapters.kube.pods import Execution, Pods
from cloudroute.adapters.kube.project import is_ready
from cloudroute.adapters.kube.review import component
from cloudroute.core.verify.model import Answer, Asker, Question
from cloudroute.errors import ApiError, CloudrouteError, LostRace, Refused
from cloudroute.verify import manifests
from cloudroute.verify.manifests import NAMESPACE, Image, Json

START_SECONDS = 120.0
"""For pods to be Ready: an image of 60 MB is pulled meanwhile, where the node has none."""
END_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""For one answer: the longest question is a stream of --seconds, and comes on top."""
_LOOK_SECONDS = 0.5
_ASKED_AT_ONCE = 12
_ATTEMPTS = 2
"""To ask one place: a busy API server, or a kubelet that restarts, cuts a connection now and then."""
_NAMESPACE = f"/api/v1/namespaces/{NAMESPACE}"
_PROBE = ("python3", "-m", "cloudroute.probe")

Say = Callable[[str], None]


class Stage:
    """Entering makes the namespace; leaving removes all that was made. Raises ApiError and CloudrouteError."""

    def __init__(self, pods: Pods, agents_namespace: str, say: Say, *, keep: bool) -> None:
        self.pods = pods
        self.agents: Mapping[str, str] = {}
        """Name of the running agent's pod, by node."""
        self.image: Image
        self.agents_namespace, self._say, self._keep = agents_namespace, say, keep
        self._made: list[Json] = []
        self._executions: set[Execution] = set()

    def __enter__(self) -> Stage:
        if self._is_going():
            self._say(f"the namespace {NAMESPACE} of a run before is being removed")
            self.await_end()
        if self.pods.get(_NAMESPACE):
            raise CloudrouteError(
                f"there is a namespace {NAMESPACE} already: another verify is at work, or one was run with --keep or "
                "was killed. These commands remove all that it has left:",
                *(f"  {command}" for command in manifests.removal(self.agents_namespace)),
            )
        self.find_agents()
        try:
            self.make(manifests.namespace())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._keep:
            self._say(f"kept: namespace {NAMESPACE}; kubectl delete namespace {NAMESPACE} removes it")
            made = [one for one in self._made if one["metadata"].get("namespace") not in (None, NAMESPACE)]
        else:
            self._say("removing the pods")
            made = [one for one in self._made if one["metadata"].get("namespace") != NAMESPACE]
        for manifest in reversed(made):  # the namespace takes along all that is in it
            try:
                self.pods.delete(manifest)
            except ApiError as error:
                self._say(f"not removed: {manifest['kind']} {manifest['metadata']['name']}: {error}")

    def await_end(self) -> None:
        """Wait until the namespace is gone, so that the next run can begin."""
        deadline = time.monotonic() + END_SECONDS
        while self._is_going() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _is_going(self) -> bool:
        namespace = self.pods.get(_NAMESPACE)
        return bool(namespace and "deletionTimestamp" in namespace["metadata"])

    def make(self, manifest: Json) -> Json:
        """Create an object, which leaving removes."""
        self._made.append(manifest)
        try:
            return self.pods.create(manifest)
        except (LostRace, Refused):  # it is somebody else's; after any other error it may have been made
            self._made.pop()
            raise

    def remove(self, manifest: Json) -> None:
        """Remove an object before the end, if `make` has created it."""
        if any(one is manifest for one in self._made):
            self.pods.delete(manifest)
            self._made = [one for one in self._made if one is not manifest]

    def find_agents(self) -> None:
        """Find the agents' pods and their image. Raises CloudrouteError when there are none."""
        running: dict[str, str] = {}
        image: Image | None = None
        for pod in self.pods.list(f"/api/v1/namespaces/{self.agents_namespace}/pods", component("agent")):
            container = pod["spec"]["containers"][0]
            image = Image(
                container["image"],
                container.get("imagePullPolicy", "IfNotPresent"),
                pod["spec"].get("imagePullSecrets") or (),
            )
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                running[pod["spec"]["nodeName"]] = pod["metadata"]["name"]
        if image is None:
            raise CloudrouteError(
                f"no agent's pod is in namespace {self.agents_namespace}: verify takes its image; pass --namespace"
            )
        # Always would ask the registry for each pod, with no secret of it: the agents' nodes have the image.
        policy = "IfNotPresent" if image.pull_policy == "Always" else image.pull_policy
        self.agents, self.image = running, image._replace(pull_policy=policy)

    def await_ready(self, askers: Collection[Asker]) -> tuple[dict[Asker, tuple[str, ...]], dict[Asker, str]]:
        """Wait until pods are Ready. Return the addresses of those that are, and what holds back each other one."""
        wanted = {manifests.place(asker, self.agents_namespace): asker for asker in askers}
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = {
                manifests.Place(namespace, pod["metadata"]["name"]): pod
                for namespace in {where.namespace for where in wanted}
                for pod in self.pods.list(f"/api/v1/namespaces/{namespace}/pods", f"app={manifests.APP}")
            }
            ready = {
                asker: _addresses(found[where])
                for where, asker in wanted.items()
                if where in found and is_ready(found[where]["status"])
            }
            if len(ready) == len(wanted) or time.monotonic() > deadline:
                late = {asker: _state(found.get(where)) for where, asker in wanted.items() if asker not in ready}
                return ready, late
            time.sleep(_LOOK_SECONDS)

    # --- asking -----------------------------------------------------------------------------------

    def run(self, asker: Asker, *words: str) -> Execution:
        """Start the probe's program in a pod, or in an agent's container."""
        if asker.role == "node":
            return self.pods.execute(self.agents_namespace, self.agents[asker.node], "agent", (*_PROBE, *words))
        where = manifests.place(asker, self.agents_namespace)
        return self.pods.execute(*where, manifests.CONTAINER, (*_PROBE, *words))

    def ask(self, asker: Asker, asks: Sequence[Mapping[str, object]], seconds: float = 0.0) -> Iterator[Answer]:
        """Ask everything of one asker. Yields answers as they come; `id` is the place in `asks`.

        `seconds` is what the longest of them takes. Raises CloudrouteError when there is no way to the asker.
        """
        execution = self.run(asker, "ask")
        self._executions.add(execution)
        try:
            execution.send([{"id": number, **ask} for number, ask in enumerate(asks)])
            yield from execution.lines(ANSWER_SECONDS + seconds)
        finally:
            execution.close()
            self._executions.discard(execution)

    def ask_all(self, questions: Sequence[Question], seconds: float = 0.0) -> Iterator[tuple[Question, Answer]]:
        """Ask all questions, of several askers at a time; each has an answer at the end, if only an error."""
        by_asker: dict[Asker, list[Question]] = {}
        for question in questions:
            by_asker.setdefault(question.asker, []).append(question)
        with self.at_once() as pool:
            jobs = [pool.submit(self._ask_one, asker, mine, seconds) for asker, mine in by_asker.items()]
            for job in jobs:
                yield from job.result()

    def _ask_one(self, asker: Asker, questions: Sequence[Question], seconds: float) -> list[tuple[Question, Answer]]:
        answers: dict[int, Answer] = {}
        error = ""
        for _ in range(_ATTEMPTS):
            left = [number for number in range(len(questions)) if number not in answers]
            try:
                for answer in self.ask(asker, [questions[number].ask for number in left], seconds):
                    answers[left[int(answer["id"])]] = answer
            except CloudrouteError as raised:
                error = str(raised)
            if len(answers) == len(questions):
                break
        nothing: Answer = {"ok": False, "code": "exec", "error": error or "the probe ended before it answered"}
        return [(question, answers.get(number, nothing)) for number, question in enumerate(questions)]

    @contextlib.contextmanager
    def at_once(self) -> Iterator[ThreadPoolExecutor]:
        """Yield threads. When they are left by Ctrl-C, nobody waits for answers any more."""
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for execution in list(self._executions):
                    execution.close()
                raise

    def tell(self, askers: Collection[Asker], kind: str) -> dict[Asker, Answer]:
        """Ask each asker one thing about itself (`self`, `state`); those that can't be asked are left out."""

        def one(asker: Asker) -> Answer:
            with contextlib.suppress(CloudrouteError):
                for answer in self.ask(asker, [{"kind": kind}]):
                    return answer
            return {}

        with self.at_once() as pool:
            answers = zip(askers, pool.map(one, askers), strict=True)
            return {asker: answer for asker, answer in answers if answer.get("ok")}


def _addresses(pod: Json) -> tuple[str, ...]:
    return tuple(entry["ip"] for entry in pod["status"].get("podIPs", ()))


def _state(pod: Json | None) -> str:
    """Return the reason why a pod is not Ready, in words."""
    if pod is None:
        return "its pod is gone"
    for status in pod["status"].get("containerStatuses", ()):
        waiting = status.get("state", {}).get("waiting") or status.get("state", {}).get("terminated")
        if waiting:
            return f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
        if status.get("state", {}).get("running"):
            return "it runs, and its node's kubelet does not reach it"
    unmet = [one for one in pod["status"].get("conditions", ()) if one["status"] != "True" and one.get("message")]
    return str(unmet[0]["message"]) if unmet else f"phase {pod['status'].get('phase', 'unknown')}"
