"""Each command against the lab: a VPC, an API server, and what a person asks of them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute import crds
from cloudroute.lab.aws import Aws, Machine
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.kube.resources import Resource
from tests.cli.commands import PATIENCE, run, started
from tests.waiting import eventually

POOL = "10.244.0.0/16"
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", namespaced=True, status=True)
"""Not among the kinds of the embedded API, as the controller has no use for it."""


class CommandLab:
    """An account with a VPC of two zones, an API server with a Node for each of its instances, and who to ask."""

    def __init__(self, folder: Path) -> None:
        self.aws = Aws()
        self.ec2 = self.aws.serve()
        self.vpc = self.aws.scene.vpc(zones=2)
        self.kube = KubeApi()
        self.api = self.kube.serve()
        self.kubeconfig = str(self.api.kubeconfig(folder / "kubeconfig"))
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for definition in crds.manifests():
            self.kube.create(definition)
        self.machines = {f"node-{zone.name}": self.aws.scene.launch(zone)[0] for zone in self.vpc.zones}
        for name, machine in self.machines.items():
            self._join(name, machine)
        self.env = {
            "AWS_ENDPOINT_URL": self.ec2.url,
            "AWS_ACCESS_KEY_ID": "AKIALABROOTUSER00000",
            "AWS_SECRET_ACCESS_KEY": "any",
            "CLOUDROUTE_KUBECONFIG": self.kubeconfig,
            "CLOUDROUTE_CLUSTER_CIDR": POOL,
            "CLOUDROUTE_SETTLE_SECONDS": "0.1",
            "CLOUDROUTE_DRAIN_SECONDS": "0.1",
            "CLOUDROUTE_LISTEN": "127.0.0.1:0",
        }

    def _join(self, name: str, machine: Machine) -> None:
        self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": machine.zone.name}},
                "spec": {"providerID": machine.provider_id},
                "status": {"addresses": [{"type": "InternalIP", "address": machine.addresses[0]}]},
            }
        )

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(*words, env=self.env, code=code)

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "-o", "json", code=code).stdout)

    def destinations(self) -> set[str]:
        """Destinations that any table routes to an instance."""
        tables = [self.aws.scene.routes(table) for table in self.vpc.route_table_ids]
        return {to for table in tables for to, route in table.items() if route.get("NetworkInterfaceId")}

    def node_routes(self) -> list[Any]:
        """The specs."""
        return [item["spec"] for item in self.kube.list("noderoutes")]

    def close(self) -> None:
        self.api.close()
        self.ec2.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[CommandLab]:
    lab = CommandLab(tmp_path)
    yield lab
    lab.close()


def test_a_cluster_from_its_plan_to_its_cleanup(lab: CommandLab) -> None:
    """plan says it, controller --once does it, status and path show it, cleanup takes it back."""
    first, second = sorted(lab.machines)

    planned = lab.json("plan", code=3)
    assert {"CreateRoute", "create", "assign podCIDRs"} <= {step["action"] for step in planned["steps"]}
    assert lab.destinations() == set()
    assert "CreateRoute" in lab.run("plan", code=3).stdout

    lab.run("controller", "--once")
    assert len(lab.destinations()) == 2
    assert lab.json("plan")["steps"] == []
    assert "nothing to change" in lab.run("plan").stdout

    status = lab.json("status")
    tables = sorted(lab.vpc.route_table_ids)
    assert [node["name"] for node in status["nodes"]] == [first, second]
    for node in status["nodes"]:
        machine = lab.machines[node["name"]]
        assert set(node["podCIDRs"]) < lab.destinations()
        assert node["nodeIPs"] == [machine.addresses[0]]
        assert node["instanceID"] == machine.id
        assert node["path"] == "native"
        assert node["tables"] == tables
        assert node["problem"] == ""
        assert node["agent"] is None
    assert status["tables"] == [
        {"id": table, "family": "ipv4", "limit": 50, "learnedLimit": None, "used": 3, "ours": 2, "foreign": 1}
        for table in tables
    ]
    assert yaml.safe_load(lab.run("status", "-o", "yaml").stdout) == status
    shown = lab.run("status").stdout.splitlines()
    assert shown[0].split() == ["NAME", "PATH", "READY", "POD-CIDRS", "NODE-IPS", "INSTANCE", "TABLES"]
    assert shown[1].split()[:3] == [first, "native", "-"]
    assert shown[4].split() == ["ID", "FAMILY", "LIMIT", "USED", "OURS", "FOREIGN"]
    assert shown[5].split() == [tables[0], "ipv4", "50", "3", "2", "1"]

    address = status["nodes"][1]["podCIDRs"][0].replace(".0/24", ".7")
    path = lab.json("path", first, address)
    assert (path["path"], path["destination"]["node"]) == ("native", second)
    assert second in path["reason"]
    assert len(path["steps"]) >= 2
    assert lab.json("path", first, lab.machines[first].addresses[0])["path"] == "local"
    assert "because" in lab.run("path", first, second).stdout
    _check_paths_of_nodes_and_outside(lab, first, second, address)

    listed = lab.json("cleanup")
    assert {route["destination"] for route in listed["routes"]} == lab.destinations()
    assert listed["nodeRoutes"] == [first, second]
    assert len(lab.destinations()) == 2
    assert "--yes" in lab.run("cleanup").stdout

    lab.run("cleanup", "--yes")
    assert lab.destinations() == set()
    assert lab.kube.list("noderoutes") == []
    assert lab.kube.list("routetables") == []
    assert lab.json("cleanup") == {"routes": [], "nodeRoutes": [], "unclear": []}


def test_cleanup_says_which_routes_of_a_pool_it_leaves(lab: CommandLab) -> None:
    """A gateway's route whose RouteTable object is lost: before and after --yes, with the command that deletes it."""
    table, gateway = lab.vpc.zones[0].route_table_id, lab.machines[min(lab.machines)]
    ec2 = lab.aws.scene.ec2
    lab.run("controller", "--once")
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=POOL, NetworkInterfaceId=gateway.interface_id)
    command = f"aws ec2 delete-route --route-table-id {table} --destination-cidr-block {POOL}"
    unclear = [
        {
            "table": table,
            "destination": POOL,
            "target": gateway.interface_id,
            "blackhole": False,
            "command": command,
        }
    ]
    assert lab.json("cleanup")["unclear"] == unclear
    listed = lab.run("cleanup").stdout.splitlines()[-1]
    assert listed.endswith(f": {POOL} in {table} to {gateway.interface_id} stays; if it is yours: {command}")
    assert lab.run("cleanup", "--yes").stdout.splitlines() == [listed]
    assert lab.destinations() == {POOL}
    assert lab.json("cleanup", "--yes") == {"unclear": unclear}
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=POOL)
    assert lab.json("cleanup", "--yes") == {"unclear": []}
    assert lab.run("cleanup", "--yes").stdout == ""


def test_a_table_for_people_names_gateways_where_there_are_any(lab: CommandLab) -> None:
    """Without gateways there is no such table."""
    (table, *_) = sorted(lab.vpc.route_table_ids)
    lab.run("controller", "--once")
    assert "GATEWAY" not in lab.run("status").stdout
    lab.kube.patch_status(
        "routetables", table, {"ipv4": {"gateways": [{"destination": "100.64.0.0/16", "node": "node-1"}]}}
    )
    assert lab.json("status")["gateways"] == [{"destination": "100.64.0.0/16", "table": table, "node": "node-1"}]
    shown = [line.split() for line in lab.run("status").stdout.splitlines()]
    assert ["DESTINATION", "TABLE", "GATEWAY"] in shown
    assert ["100.64.0.0/16", table, "node-1"] in shown


def _check_paths_of_nodes_and_outside(lab: CommandLab, first: str, second: str, pod: str) -> None:
    """Nodes' own addresses, a host of the VPC that is no node, the internet; and a pod CIDR that no node has."""
    mine, other = (lab.machines[name].addresses[0] for name in (first, second))
    between = lab.json("path", mine, other)
    assert (between["path"], between["source"]["kind"], between["seen"]) == (
        "vpc",
        "node",
        {"as": "node", "address": mine},
    )
    to_node = lab.json("path", pod, mine)
    assert (to_node["path"], to_node["destination"]["kind"]) == ("native", "node")
    assert to_node["seen"] == {"as": "pod", "address": pod}
    host = other.rpartition(".")[0] + ".250"
    kept = lab.json("path", pod, host)
    assert (kept["path"], kept["seen"]["as"], kept["destination"]) == (
        "vpc", "pod", {"given": host, "node": None, "kind": "outside"}
    )  # fmt: skip
    masqueraded = lab.json("path", pod, "192.0.2.1")
    assert masqueraded["seen"] == {"as": "node", "address": other}
    assert lab.json("path", first, "192.0.2.1")["seen"]["address"] == mine
    assert lab.json("path", first, second)["seen"] == {"as": "pod", "address": None}
    assert lab.json("path", "192.0.2.1", pod)["seen"] is None
    shown = lab.run("path", pod, "192.0.2.1").stdout
    assert f"seen as  {other}, of the node" in shown
    assert "192.0.2.1, outside of the cluster" in shown
    unknown = lab.run("path", pod, "10.244.99.9", code=1).stderr
    assert unknown.startswith(f"cloudroute: 10.244.99.9: is in --cluster-cidr {POOL}, but in the pod CIDR of no node")
    assert "no packet goes between address families" in lab.run("path", pod, "2001:db8::1", code=1).stderr


def test_words_of_agents_are_shown(lab: CommandLab) -> None:
    """READY is yes, no, behind or -; their words stand below, in JSON, and in `path`."""
    first, second = sorted(lab.machines)
    lab.run("controller", "--once")
    words = "eth0 has none of the node's addresses"
    generation = lab.kube.get("noderoutes", first)["metadata"]["generation"]
    paths = {"native": 1, "direct": 0, "overlay": 0}
    said = {"reason": "Interface", "message": words, "mtu": 8951, "paths": paths, "since": "2026-01-01T00:00:00Z"}
    lab.kube.patch_status("noderoutes", first, {"ready": False, "observedGeneration": generation, **said})
    lab.kube.patch_status("noderoutes", second, {"ready": True, "reason": "Ready", "observedGeneration": 1})
    one, other = lab.json("status")["nodes"]
    assert one["agent"] == {"ready": False, "observedGeneration": generation, "behind": False, **said}
    assert (other["agent"]["ready"], other["agent"]["behind"], other["agent"]["mtu"]) == (True, True, None)
    shown = lab.run("status").stdout.splitlines()
    assert [line.split()[2] for line in shown[1:3]] == ["no", "behind"]
    assert f"{first}: its agent says Interface: {words}" in shown
    assert not [line for line in shown if line.startswith(f"{second}: ")]
    lab.kube.patch_status("noderoutes", second, {"observedGeneration": generation})
    assert lab.run("status").stdout.splitlines()[2].split()[2] == "yes"
    trouble = f"the agent of {first} is not ready, which says Interface: {words}"
    assert lab.json("path", second, first)["troubles"] == [trouble]
    assert trouble in lab.run("path", first, second).stdout


def test_words_of_agents_steer_no_terminal(lab: CommandLab) -> None:
    """An escape sequence and a line break are shown as such below the table; for programs every word is exact."""
    first, _ = sorted(lab.machines)
    lab.run("controller", "--once")
    words = "gone\x1b[2J\nnode-x: all is well\u202e\x85"
    lab.kube.patch_status("noderoutes", first, {"ready": False, "reason": "Interface", "message": words})
    shown = lab.run("status").stdout
    assert rf"{first}: its agent says Interface: gone\x1b[2J\nnode-x: all is well\u202e\x85" in shown.splitlines()
    assert shown.replace("\n", "").isprintable()
    assert r"which says Interface: gone\x1b[2J\nnode-x: all is well\u202e\x85" in lab.run("path", first, first).stdout
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        out = lab.run("status", "-o", form).stdout
        assert words in [node["agent"]["message"] for node in read(out)["nodes"] if node["agent"]]
        assert "\x1b" not in out


def test_a_node_that_waits_for_its_agent_is_shown_with_the_reason(lab: CommandLab) -> None:
    """controller --once ends all the same: nothing is left that it could do."""
    first, _ = sorted(lab.machines)
    lab.run("controller", "--once")
    lab.kube.patch_status("noderoutes", first, {"ready": False, "reason": "CNIPluginsMissing", "message": "no bridge"})
    lab.kube.patch("noderoutes", first, {"spec": {"nativeIn": [], "subnetID": ""}})
    lab.run("controller", "--once")
    status = lab.json("status")
    assert [node["tables"] == [] for node in status["nodes"]] == [True, False]
    (warned,) = (one for one in status["warnings"] if one["name"] == first)
    assert warned["reason"] == "AgentNotReady"
    assert "when its agent is ready, which says CNIPluginsMissing: no bridge" in warned["message"]
    assert f"node/{first}" in lab.run("status").stdout


def test_an_empty_cluster_needs_nothing(lab: CommandLab) -> None:
    """Without Nodes no VPC is known, and there is nothing to plan, to do or to clean up."""
    for name in lab.machines:
        lab.kube.delete("nodes", name)
    region = ("--region", "eu-central-1")
    assert "nothing to change" in lab.run("plan", *region).stdout
    lab.run("controller", "--once", *region)
    assert lab.json("cleanup", *region) == {"routes": [], "nodeRoutes": [], "unclear": []}


def test_pods_are_found_by_name_and_by_address(lab: CommandLab) -> None:
    """A pod on the host network has its node's address."""
    first, second = sorted(lab.machines)
    lab.run("controller", "--once")
    for name, node, host in (("web", second, False), ("agent", first, True)):
        lab.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": node, "hostNetwork": host, "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": "Running", "podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]},
            }
        )
    for source, target, node in (
        (first, "default/web", second),
        (first, "10.9.9.9", second),
        ("default/web", "default/agent", first),
    ):
        assert lab.json("path", source, target)["destination"]["node"] == node


def test_path_goes_by_the_flag_of_the_agents_that_keeps_a_source(lab: CommandLab) -> None:
    """A pod of an overlay node keeps its address toward a host of the VPC with --gateway-keeps-source alone."""
    lab.kube.registry.replace_group(DAEMON_SETS.group, DAEMON_SETS.plural, (DAEMON_SETS,))
    lab.run("controller", "--once")
    first, second = sorted(lab.machines)
    table, host = lab.vpc.zones[0].route_table_id, "10.0.0.99"
    lab.kube.patch("noderoutes", second, {"spec": {"nativeIn": []}})
    lab.kube.patch_status("routetables", table, {"ipv4": {"gateways": [{"destination": POOL, "node": first}]}})

    def seen() -> str:
        return str(lab.json("path", second, host)["seen"]["as"])

    assert seen() == "node"
    args = ["agent", "--gateway-keeps-source=on"]
    lab.kube.create(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "cloudroute-agent", "namespace": "cloudroute"},
            "spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "one", "args": args}]}}},
        }
    )
    assert seen() == "pod"
    lab.kube.faults.fail(403, "list", "daemonsets")
    (trouble,) = lab.json("path", second, host)["troubles"]
    assert trouble.startswith("the agents are taken to run without --gateway-keeps-source: list daemonsets")


def test_a_place_that_is_nowhere_is_said_to_be(lab: CommandLab) -> None:
    """Exit code 1, the place, and what was expected."""
    for place, says in (
        ("nobody", "no node of that name has a NodeRoute"),
        ("default/nobody", "there is no pod nobody in namespace default"),
    ):
        assert lab.run("path", place, place, code=1).stderr.startswith(f"cloudroute: {place}: {says}")
    both = lab.run("path", "192.0.2.1", "192.0.2.2", code=1).stderr
    assert both.startswith("cloudroute: 192.0.2.1 and 192.0.2.2 are of no pod CIDR, no node and no running pod")


def test_a_node_without_a_route_is_shown_with_the_reason(lab: CommandLab) -> None:
    """A providerID that names no instance, and no controller yet."""
    lab.kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bad"}, "spec": {"providerID": "x"}})
    nodes = {node["name"]: node for node in lab.json("status")["nodes"]}
    assert nodes["bad"]["path"] is None
    assert "providerID" in nodes["bad"]["problem"]
    assert "controller" in nodes["node-eu-central-1a"]["problem"]
    assert "bad: " in lab.run("status").stdout


def test_a_changed_pool_is_refused_and_can_be_looked_at(lab: CommandLab) -> None:
    """By plan and cleanup as by the controller; all commands that help to understand it go on working."""
    first, second = sorted(lab.machines)
    lab.run("controller", "--once")
    lab.env["CLOUDROUTE_CLUSTER_CIDR"] = "10.99.0.0/16"
    for words in (["plan"], ["cleanup"], ["cleanup", "--yes"]):
        said = lab.run(*words, code=2).stderr
        assert "--cluster-cidr 10.99.0.0/16: expected pools that hold the pod CIDR of every node, but " in said
        assert first in said
    assert [node["name"] for node in lab.json("status")["nodes"]] == [first, second]
    assert lab.json("path", first, second)["path"] == "native"
    (pools,) = [one for one in lab.json("doctor", code=1) if one["check"] == "pools"]
    assert (pools["state"], first in pools["found"]) == ("failed", True)
    lab.env["CLOUDROUTE_CLUSTER_CIDR"] = f"10.99.0.0/16,{POOL}"
    assert lab.json("plan")["steps"] == []
    assert len(lab.json("cleanup")["nodeRoutes"]) == 2


def test_the_vpc_must_not_hold_the_pods(lab: CommandLab) -> None:
    """A mistake that only EC2 shows is reported like any other bad setting: exit code 2."""
    done = lab.run("plan", "--cluster-cidr", "10.0.128.0/17", code=2)
    assert "--cluster-cidr 10.0.128.0/17: expected a range of its own, but it overlaps 10.0.0.0/16" in done.stderr
    done = lab.run("controller", "--once", "--cluster-cidr", "10.0.128.0/17", code=2)
    assert "--cluster-cidr 10.0.128.0/17: expected a range of its own, but it overlaps 10.0.0.0/16" in done.stderr


def test_missing_permissions_name_action_and_resource(lab: CommandLab) -> None:
    """In Kubernetes and in AWS; what AWS refused to the controller, status shows as a warning."""
    lab.kube.faults.fail(403, "list", "noderoutes")
    assert "list noderoutes.cloudroute.io in the cluster: 403" in lab.run("status", code=1).stderr

    table = min(lab.vpc.route_table_ids)
    lab.aws.faults.fail("CreateRoute", "UnauthorizedOperation", times=None)
    lab.run("controller", "--once", code=1)
    (warned,) = (one for one in lab.json("status")["warnings"] if one["name"] == table)
    assert warned["kind"] == "RouteTable"
    assert "Refused" in warned["reason"]
    assert "CreateRoute" in warned["message"]
    assert table in warned["message"]
    assert f"routetable/{table}" in lab.run("status").stdout


def test_an_unreachable_api_server_is_named(lab: CommandLab) -> None:
    """Exit code 1, the address, and what to look at."""
    lab.api.close()
    host, _, port = lab.api.url.removeprefix("http://").partition(":")
    with socket.socket() as nobody:  # nor may anybody else answer there
        nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        nobody.bind((host, int(port)))
        for words in (["status"], ["path", "a", "b"], ["plan"], ["cleanup"], ["controller"]):
            done = lab.run(*words, code=1)
            assert lab.api.url in done.stderr
            assert "is the API server up" in done.stderr


def test_a_port_in_use_is_named(lab: CommandLab) -> None:
    """With the flag to change."""
    taken = lab.api.url.removeprefix("http://")
    for words in (["controller"], ["lab", "aws"], ["lab", "kube"]):
        done = lab.run(*words, "--listen", taken, code=1)
        assert f"--listen {taken}: " in done.stderr
        assert "in use" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_controller_within_a_second(lab: CommandLab, number: signal.Signals) -> None:
    """It releases the Lease and exits with 0."""
    with started("controller", env=lab.env) as process:
        eventually(
            lambda: len(lab.node_routes()) == 2 and all(one["nativeIn"] for one in lab.node_routes()),
            "both nodes are native",
        )
        start = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - start < 1.0
    assert process.returncode == 0, err
    assert "Traceback" not in err
    (lease,) = lab.kube.list("leases", "cloudroute")
    assert not lease["spec"]["holderIdentity"]
