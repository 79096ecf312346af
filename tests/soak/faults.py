"""The effect of each kind of fault. A fault runs in a thread of its own, and has undone its effect when it returns."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping

from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws.faults import Faults
from cloudroute.lab.hosts.host import LabHost
from cloudroute.ports import EC2_WRITES
from tests.packets.damage import DAMAGE
from tests.soak.live_lab import LiveLab
from tests.soak.schedule import EC2, MOST_FOREIGN, Fault

END_SECONDS = 15.0
"""For a controller that has lost its lease to end."""
PAST_SECONDS = 4.0


def inject(live: LiveLab, fault: Fault) -> None:
    """Inject a fault, and return when it is over. Raises CloudrouteError when it can't be done."""
    if fault.kind in EC2:
        _ec2(live, fault)
    else:
        _FAULTS[fault.kind](live, fault)


def _limit(live: LiveLab, fault: Fault) -> None:
    with live.controllers_held():
        live.lab.set_route_limit(fault.entries)


def _foreign(live: LiveLab, fault: Fault) -> None:
    """Have so many routes of somebody else's, of each family, in a table."""
    ec2, table = live.lab.aws.scene.ec2, live.lab.vpc.zones[fault.zone].route_table_id
    entries = live.lab.aws.scene.routes(table)
    gateway = entries["0.0.0.0/0"]["GatewayId"]
    for number in range(1, MOST_FOREIGN + 1):
        v4, v6 = f"172.20.{number}.0/24", f"fd99:0:0:{number:x}::/64"
        for name, destination in (("DestinationCidrBlock", v4), ("DestinationIpv6CidrBlock", v6)):
            if number <= fault.entries and destination not in entries:
                ec2.create_route(RouteTableId=table, GatewayId=gateway, **{name: destination})
            elif number > fault.entries and destination in entries:
                ec2.delete_route(RouteTableId=table, **{name: destination})


def _replace(live: LiveLab, fault: Fault) -> None:
    live.exchange.doom(fault.host)
    host = live.lab.replace(fault.host)
    live.wait(lambda: host.runtime.ready, f"a conflist on the new {host.name}", 60)
    host.add_pod("a")
    live.renewal_due = True


def _kill_agent(live: LiveLab, fault: Fault) -> None:
    host = _host(live, fault)
    host.kill_agent()
    live.sleep(fault.seconds)
    host.start_agent()


def _stop_agent(live: LiveLab, fault: Fault) -> None:
    host = _host(live, fault)
    host.stop_agent()
    live.sleep(fault.seconds)
    host.start_agent()


def _kill_leader(live: LiveLab, fault: Fault) -> None:
    with live.controllers_held():
        live.wait(lambda: live.lab.leader() is not None, "a leader to kill")
        if leader := live.lab.leader():
            leader.process.kill()
            leader.process.wait()
        live.sleep(fault.seconds)
        live.lab.start_controller()


def _pause_leader(live: LiveLab, fault: Fault) -> None:
    with live.controllers_held():
        live.wait(lambda: live.lab.leader() is not None, "a leader to pause")
        paused = live.lab.leader()
        if not paused:
            return
        paused.process.send_signal(signal.SIGSTOP)
        try:
            others = [replica for replica in live.lab.controllers.replicas if replica is not paused]
            live.wait(lambda: any(replica.leads for replica in others), "the standby to lead")
            live.sleep(fault.seconds)
        finally:
            paused.process.send_signal(signal.SIGCONT)
        try:
            paused.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired as error:
            words = f"{paused.name} has lost its lease while it was paused, and goes on"
            raise CloudrouteError(f"{words}:\n{paused.says()}") from error
        live.lab.start_controller()


def _stop_api(live: LiveLab, fault: Fault) -> None:
    live.writes.fold()
    live.lab.stop_api()
    live.sleep(fault.seconds)
    live.lab.start_api()


def _node_anew(live: LiveLab, fault: Fault) -> None:
    host = _host(live, fault)
    live.lab.kube.delete("nodes", host.name)
    live.sleep(fault.seconds)
    live.lab.nodes.register(host)


def _status(live: LiveLab, fault: Fault) -> None:
    garbage = {"ready": False, "reason": "Soaked", "message": "x" * 1000, "observedGeneration": 10**9, "mtu": 1,
               "path": "overlay", "paths": {"overlay": 10**6}, "since": "1970-01-01T00:00:00Z"}  # fmt: skip
    live.lab.kube.patch_status("noderoutes", fault.host, garbage)


def _sabotage(live: LiveLab, fault: Fault) -> None:
    # An entry that the agent is just putting back, or that a peer has lost meanwhile, can't be removed again.
    with contextlib.suppress(CloudrouteError, StopIteration, IndexError):
        DAMAGE[fault.damage](_host(live, fault))


_FAULTS: Mapping[str, Callable[[LiveLab, Fault], None]] = {
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


def _ec2(live: LiveLab, fault: Fault) -> None:
    faults = live.lab.aws.faults
    _EC2[fault.kind](faults)
    live.sleep(fault.seconds)
    faults.clear()


def _host(live: LiveLab, fault: Fault) -> LabHost:
    return live.lab.hosts[fault.host]
