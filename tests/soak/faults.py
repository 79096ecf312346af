"""What each kind of fault does. Each ends what it began, returns when it is over, and runs in a thread of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping

from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws.faults import Faults
from cloudroute.lab.hosts.host import LabHost
from tests.packets.damage import DAMAGE
from tests.soak.schedule import EC2, MOST_FOREIGN, Deed
from tests.soak.stage import Stage
from tests.soak.writes import EC2_WRITES

END_SECONDS = 15.0
"""For a controller that has lost its lease to end."""
PAST_SECONDS = 4.0


def commit(stage: Stage, deed: Deed) -> None:
    """Do it. Raises CloudrouteError when it can't be done."""
    if deed.kind in EC2:
        _ec2(stage, deed)
    else:
        _DEEDS[deed.kind](stage, deed)


def _limit(stage: Stage, deed: Deed) -> None:
    with stage.controllers_held():
        stage.lab.set_route_limit(deed.entries)


def _foreign(stage: Stage, deed: Deed) -> None:
    """Have so many routes of somebody else's, of each family, in a table."""
    ec2, table = stage.lab.aws.scene.ec2, stage.lab.vpc.zones[deed.zone].route_table_id
    entries = stage.lab.aws.scene.routes(table)
    gateway = entries["0.0.0.0/0"]["GatewayId"]
    for number in range(1, MOST_FOREIGN + 1):
        v4, v6 = f"172.20.{number}.0/24", f"fd99:0:0:{number:x}::/64"
        for name, destination in (("DestinationCidrBlock", v4), ("DestinationIpv6CidrBlock", v6)):
            if number <= deed.entries and destination not in entries:
                ec2.create_route(RouteTableId=table, GatewayId=gateway, **{name: destination})
            elif number > deed.entries and destination in entries:
                ec2.delete_route(RouteTableId=table, **{name: destination})


def _replace(stage: Stage, deed: Deed) -> None:
    stage.exchange.doom(deed.host)
    host = stage.lab.replace(deed.host)
    stage.wait(lambda: host.runtime.ready, f"a conflist on the new {host.name}", 60)
    host.add_pod("a")
    stage.renewal_due = True


def _kill_agent(stage: Stage, deed: Deed) -> None:
    host = _host(stage, deed)
    host.kill_agent()
    stage.sleep(deed.seconds)
    host.start_agent()


def _stop_agent(stage: Stage, deed: Deed) -> None:
    host = _host(stage, deed)
    host.stop_agent()
    stage.sleep(deed.seconds)
    host.start_agent()


def _kill_leader(stage: Stage, deed: Deed) -> None:
    with stage.controllers_held():
        stage.wait(lambda: stage.lab.leader() is not None, "a leader to kill")
        if leader := stage.lab.leader():
            leader.process.kill()
            leader.process.wait()
        stage.sleep(deed.seconds)
        stage.lab.start_controller()


def _pause_leader(stage: Stage, deed: Deed) -> None:
    with stage.controllers_held():
        stage.wait(lambda: stage.lab.leader() is not None, "a leader to pause")
        paused = stage.lab.leader()
        if not paused:
            return
        paused.process.send_signal(signal.SIGSTOP)
        try:
            others = [replica for replica in stage.lab.controllers.replicas if replica is not paused]
            stage.wait(lambda: any(replica.leads for replica in others), "the standby to lead")
            stage.sleep(deed.seconds)
        finally:
            paused.process.send_signal(signal.SIGCONT)
        try:
            paused.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as error:
            words = f"{paused.name} has lost its lease while it was paused, and goes on"
            raise CloudrouteError(f"{words}:\n{paused.says()}") from error
        stage.lab.start_controller()


def _stop_api(stage: Stage, deed: Deed) -> None:
    stage.writes.fold()
    stage.lab.stop_api()
    stage.sleep(deed.seconds)
    stage.lab.start_api()


def _node_anew(stage: Stage, deed: Deed) -> None:
    host = _host(stage, deed)
    stage.lab.kube.delete("nodes", host.name)
    stage.sleep(deed.seconds)
    stage.lab.nodes.register(host)


def _status(stage: Stage, deed: Deed) -> None:
    garbage = {"ready": False, "reason": "Soaked", "message": "x" * 1000, "observedGeneration": 10**9, "mtu": 1,
               "path": "overlay", "paths": {"overlay": 10**6}, "since": "1970-01-01T00:00:00Z"}  # fmt: skip
    stage.lab.kube.patch_status("noderoutes", deed.host, garbage)


def _sabotage(stage: Stage, deed: Deed) -> None:
    # An entry that the agent is just putting back, or that a peer has lost meanwhile, can't be removed again.
    with contextlib.suppress(CloudrouteError, StopIteration, IndexError):
        DAMAGE[deed.damage](_host(stage, deed))


_DEEDS: Mapping[str, Callable[[Stage, Deed], None]] = {
    "limit": _limit,
    "foreign routes": _foreign,
    "instance replaced": _replace,
    "agent killed": _kill_agent,
    "agent terminated": _stop_agent,
    "leader killed": _kill_leader,
    "leader paused": _pause_leader,
    "API server away": _stop_api,
    "node registered anew": _node_anew,
    "status garbage": _status,
    "sabotage": _sabotage,
}


def _lose_answers(faults: Faults) -> None:
    for action in EC2_WRITES:
        faults.drop(action, times=2)


_EC2: Mapping[str, Callable[[Faults], object]] = {
    "EC2 throttles": lambda faults: faults.throttle(times=None),
    "EC2 is unavailable": lambda faults: faults.fail("*", "Unavailable", times=None, status=503),
    "EC2's answers are lost": _lose_answers,
    "EC2 is silent": lambda faults: faults.hang("*", times=None),
    "EC2 shows the past": lambda faults: faults.stale(PAST_SECONDS),
}


def _ec2(stage: Stage, deed: Deed) -> None:
    faults = stage.lab.aws.faults
    _EC2[deed.kind](faults)
    stage.sleep(deed.seconds)
    faults.clear()


def _host(stage: Stage, deed: Deed) -> LabHost:
    return stage.lab.hosts[deed.host]
