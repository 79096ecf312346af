"""The controller with 5,000 Nodes of 10 KB: memory after its first sync, and CPU of the first list."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

from cloudroute.lab.aws import Machine
from tests.measure.process import cpu_seconds, memory_mb
from tests.measure.rows import Row, say
from tests.measure.stage import Stage

NODES, ZONES, LIMIT = 5_000, 10, 50
NODE_BYTES = 10_000
TARGET_MB = 120.0
TARGET_LIST_SECONDS = 1.0


def measure() -> Iterator[Row]:
    """One leader, from its start until every node has its NodeRoute and its condition."""
    idle = _start_up_seconds()
    with Stage(zones=ZONES, route_limit=LIMIT) as stage:
        say(f"{NODES} instances start and {NODES} Nodes of {NODE_BYTES} bytes register")
        fill(stage, NODES)
        say(f"first sync of {NODES} nodes")
        replica = stage.start()
        seconds = _list_seconds(stage, replica.pid) - idle
        stage.until(lambda: stage.settled(NODES, LIMIT - 1), "the first sync", pause=1.0)
        resident, peak = memory_mb(replica.pid, "VmRSS"), memory_mb(replica.pid, "VmHWM")
    what = f"controller with {NODES:,} Nodes of 10 KB"
    peers = {"gardener": 154, "cloud provider": 168}
    yield Row(f"RSS of a {what}, after the first sync", resident, TARGET_MB, "MB", peers)
    yield Row(f"most RSS of a {what}, until then", peak, TARGET_MB, "MB", peers)
    yield Row(f"CPU of its first list of {NODES:,} Nodes", seconds, TARGET_LIST_SECONDS, "s", {"typed models": 3.5})


def _start_up_seconds() -> float:
    """CPU of a controller that finds no Node, until it watches them."""
    with Stage(zones=1) as stage:
        return _list_seconds(stage, stage.start().pid)


def _list_seconds(stage: Stage, pid: int) -> float:
    """CPU seconds of the process when its list of Nodes has ended, which is when it begins to watch them."""
    stage.until(lambda: stage.requests["watch", "nodes"] > 0, "the first list of Nodes")
    return cpu_seconds(pid)


def fill(stage: Stage, nodes: int) -> None:
    """So many nodes, as many in each zone, whose source/dest checks are off."""
    for zone in stage.vpc.zones:
        machines = stage.aws.scene.launch(zone, nodes // ZONES)
        stage.switch_checks_off(*machines)
        for machine in machines:
            stage.join(f"ip-{machine.addresses[0].replace('.', '-')}.ec2.internal", machine, more=_kubelet(machine))


def _kubelet(machine: Machine) -> dict[str, dict[str, Any]]:
    """Patches of a Node by its kubelet and others, filled up with images to NODE_BYTES."""
    host = f"ip-{machine.addresses[0].replace('.', '-')}.ec2.internal"
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/hostname": host,
        "node.kubernetes.io/instance-type": "m6i.2xlarge",
        "topology.kubernetes.io/region": "eu-central-1",
        "topology.kubernetes.io/zone": machine.zone.name,
    }
    annotations = {
        "csi.volume.kubernetes.io/nodeid": json.dumps({"ebs.csi.aws.com": machine.id}),
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    }
    capacity = {"cpu": "8", "memory": "32386544Ki", "pods": "110", "ephemeral-storage": "83873772Ki"}
    conditions = [
        {
            "type": kind,
            "status": "True" if kind == "Ready" else "False",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": f"Kubelet{kind}",
            "message": "kubelet has looked and has nothing to complain about",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    status: dict[str, Any] = {"capacity": capacity, "allocatable": capacity, "conditions": conditions, "images": []}
    image = {
        "names": [
            f"registry.example.com/team/service@sha256:{hashlib.sha256(machine.id.encode()).hexdigest()}",
            "registry.example.com/team/service:v1.27.3-20260101",
        ],
        "sizeBytes": 123_456_789,
    }
    missing = NODE_BYTES - len(json.dumps([labels, annotations, status]))
    status["images"] = [image] * math.ceil(missing / len(json.dumps(image)))
    return {"metadata": {"labels": labels, "annotations": annotations}, "status": status}
