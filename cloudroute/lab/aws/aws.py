"""`Aws`: one strict account. A call passes, in this order:

    faults -> throttle -> IAM -> an action of ours, or moto -> new views are recorded -> counted

`answer` is the only entry, both for boto3 sessions of this process and over HTTP. It holds one lock while it works on
the world, and none while an answer is delayed.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cloudroute.clock import SystemClock
from cloudroute.lab.aws import backend, describe, iam, interfaces, machines, routes, vpcs, wire
from cloudroute.lab.aws.faults import Faults
from cloudroute.lab.aws.inprocess import make_session
from cloudroute.lab.aws.quotas import Quotas
from cloudroute.lab.aws.scene import Scene
from cloudroute.lab.aws.server import Server
from cloudroute.lab.aws.throttle import Buckets
from cloudroute.lab.aws.wire import AwsError, Request, Response
from cloudroute.lab.aws.world import Handler, World
from cloudroute.ports import Clock
from cloudroute.types import Cidr, Family

if TYPE_CHECKING:
    import boto3

ROOT_KEY = "AKIALABROOTUSER00000"
"""Access key id that is allowed everything, regardless of IAM policies. Signatures are never checked."""

DEFAULT_QUOTA = 50

_ACTIONS: Mapping[str, Handler] = {
    **describe.ACTIONS,
    **vpcs.ACTIONS,
    **routes.ACTIONS,
    **machines.ACTIONS,
    **interfaces.ACTIONS,
}
_READS = ("Describe", "Get", "List")


class Aws:
    """An AWS account in one region that behaves as AWS documents it.

    `route_quota` is the enforced limit of entries per route table and family: one for the account, or limits of single
    tables by id (all others then have 50). `throttle` turns on AWS's token buckets. `enforce_iam` evaluates policies
    of every caller but the root key. `transition_seconds` is how long an instance stays pending, stopping and
    shutting-down.
    """

    def __init__(
        self,
        *,
        region: str = "eu-central-1",
        route_quota: int | Mapping[str, int] = DEFAULT_QUOTA,
        clock: Clock | None = None,
        faults: Faults | None = None,
        throttle: bool = False,
        enforce_iam: bool = False,
        transition_seconds: float = 0.0,
    ) -> None:
        self.region = region
        self.clock: Clock = clock or SystemClock()
        self.faults = faults or Faults()
        self.calls: Counter[tuple[str, str]] = Counter()
        """Number of answers by (action, code). Code "OK", AWS's code, or "hang"; a dropped answer counts under
        the code of its result. The lab's own calls (`scene`) are not counted."""
        self.changed: Callable[[], None] = lambda: None
        """Called after every call that may have changed something and before its answer is sent; no lock is held.
        The packet router follows EC2 by it. Later changes that EC2 makes by itself (`transition_seconds`) show at
        the next call only."""
        self._enforce_iam = enforce_iam
        self._lock = threading.RLock()
        held = backend.Backend(region)
        self.account = held.account
        weakref.finalize(self, backend.forget, held.account)
        default, tables = (route_quota, {}) if isinstance(route_quota, int) else (DEFAULT_QUOTA, route_quota)
        self._quotas = Quotas(default, tables)
        self.world = World(held, self.clock, self._quotas, transition_seconds)
        """The state of EC2 now, for those that can't wait for a describe, or are not to see a stale one."""
        self._buckets = Buckets(self.clock.monotonic) if throttle else None

    # --- entry points ---------------------------------------------------------------------------

    def session(self, policy: Mapping[str, Any] | None = None) -> boto3.Session:
        """Return a boto3 session whose EC2, IAM, STS and Service Quotas clients are answered here, without a socket.

        With an IAM policy document the caller is a new user with that policy alone; without, it is root.
        """
        key = ROOT_KEY if policy is None else self._new_user(policy)
        return make_session(self.answer, self.clock, self.region, key)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Serve over HTTP/1.1 with keep-alive, for any client that takes an endpoint URL. Port 0 picks a free one."""
        return Server(self.answer, self.clock, host, port)

    @cached_property
    def scene(self) -> Scene:
        """Builder of VPCs and instances by real EC2 calls, exempt from counting, faults, throttling and IAM."""
        return Scene(make_session(self.answer, self.clock, self.region, ROOT_KEY, own=True))

    def answer(self, request: Request) -> Response:
        """Answer one call. Safe from any thread."""
        if request.own:
            return self._work(request)
        verdict = self.faults.judge(request)
        if verdict.stale:
            moment = self.clock.monotonic() - verdict.stale
            request = replace(request, as_of=lambda _: moment)
        fault = verdict.terminal
        if fault is None:
            response = self._work(request)
        elif fault.what == "hang":
            response = Response(0, b"", code="hang", fate="hang")
        elif fault.what == "drop":
            response = replace(self._work(request), fate="cut")
        else:
            response = wire.refusal(request.service, AwsError(fault.code, fault.message, fault.status))
        with self._lock:
            self.calls[request.action, response.code] += 1
        return replace(response, delay=verdict.delay)

    def _work(self, request: Request) -> Response:
        try:
            with self._lock:
                self.world.settle()
                if not request.own:
                    self._admit(request)
                response = self._perform(request)
        except AwsError as error:
            return wire.refusal(request.service, error)
        if request.service == "ec2" and response.status == 200 and not request.action.startswith(_READS):
            self.changed()
        return response

    def _admit(self, request: Request) -> None:
        if request.service == "ec2" and request.region not in ("", self.region):
            message = f"Credential should be scoped to a valid region: this lab is {self.region}, not {request.region}"
            raise AwsError("AuthFailure", message)
        if self._buckets and request.service == "ec2":
            self._buckets.take(request)
        if self._enforce_iam and request.access_key != ROOT_KEY:
            iam.authorize(self.world, request)

    def _perform(self, request: Request) -> Response:
        if request.service == "servicequotas":
            return wire.answer(request, self._quotas.answer(request, self.region, self.account))
        if request.service != "ec2":
            return self.world.backend.dispatch(request)
        describe.check_filters(request)
        handler = _ACTIONS.get(request.action)
        if handler is None:
            return self._pass_on(request)
        result = handler(self.world, request)
        return result if isinstance(result, Response) else wire.answer(request, result)

    def _pass_on(self, request: Request) -> Response:
        request.stop_if_dry()
        response = self.world.backend.dispatch(request)
        if response.status == 200 and not request.action.startswith(_READS):
            self.world.refresh()
        return response

    # --- settings -------------------------------------------------------------------------------

    def set_route_quota(self, entries: int, table_id: str | None = None) -> None:
        """Change the enforced limit of one table or of the account. Service Quotas shows only the account's.

        A table above the new limit keeps its entries.
        """
        with self._lock:
            if table_id is None:
                self._quotas.applied = entries
            else:
                self._quotas.tables[table_id] = entries

    def propagate(self, table_id: str, destination: str, gateway_id: str = "vgw-0123456789abcdef0") -> None:
        """Add a route as a virtual private gateway does: origin EnableVgwRoutePropagation."""
        with self._lock:
            self.world.settle()
            routes.propagate(self.world, table_id, Cidr.parse(destination), SimpleNamespace(id=gateway_id))
        self.changed()

    @property
    def highest(self) -> Mapping[tuple[str, Family], int]:
        """Highest number of entries that each table ever held, by table id and family; propagated ones do not count."""
        with self._lock:
            return dict(self.world.highest)

    def reset_calls(self) -> None:
        """Reset all counts to zero."""
        with self._lock:
            self.calls.clear()

    def _new_user(self, policy: Mapping[str, Any]) -> str:
        client = make_session(self.answer, self.clock, self.region, ROOT_KEY, own=True).client("iam")
        name = f"lab-{len(client.list_users()['Users']) + 1}"
        client.create_user(UserName=name)
        client.put_user_policy(UserName=name, PolicyName="lab", PolicyDocument=json.dumps(policy))
        return str(client.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"])
