"""A cluster on what Terraform has applied: a real kubelet for each instance, in a VPC that does what EC2 says.

    Terraform ──▶ strict EC2 ──▶ the VPC of the hosts: routes, ENIs, source/dest checks
                     ▲
    the internet: 198.51.100.1, where EC2's API and the API server of Kubernetes answer
                     ▲              the API server's own way to kubelets and pods: an interface in the VPC
    hosts: kubelet, containerd, kube-proxy; whatever else runs there came as a pod

There is no cloudroute in it: the chart brings that, as in any cluster, and it finds the API server by its Service.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cloudroute.lab.aws import Machine, Vpc, Zone
from cloudroute.lab.hosts import coredns
from cloudroute.lab.hosts.api import RealApi
from cloudroute.lab.hosts.cluster import ClusterHost
from cloudroute.lab.hosts.egress import Egress
from cloudroute.lab.hosts.image_store import ImageStore
from cloudroute.lab.hosts.images import make_images
from cloudroute.lab.hosts.kubelet_config import OWN_CNI
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.program import INTERNET_ADDRESSES
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.hosts.teardown import folder_of, prefix_of, remove_namespaces
from cloudroute.lab.hosts.vpc import VpcNet
from cloudroute.lab.hosts.workload import node_ready, running
from cloudroute.lab.kube import Object
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from tests.cluster.phases import Phases
from tests.policies.enforcer import make_enforcer_image
from tests.terraform.account import Account, account
from tests.terraform.kit import Terraform
from tests.waiting import eventually

OUTSIDE = INTERNET_ADDRESSES[0]
"""Address of both APIs, for nodes and pods."""
GENERATIONS = 2
"""Nodes for an instance and its replacements: the API server reads its tokens once, so these exist from the start."""
PROXY = "system:kube-proxy"
_TABLES = {f"table {family} {name}" for family in ("ip", "ip6") for name in ("filter", "mangle", "nat")}
"""Tables in which a kubelet makes chains of its own as it registers: they are no trace of cloudroute."""
CNI_CONF_DIR, CNI_BIN_DIR = OWN_CNI / "net.d", OWN_CNI / "bin"
"""Folders of the nodes' container runtimes. No plugin is there at first."""


class Size(NamedTuple):
    """The name of a fleet, which no other has that may be up at the same time, and the number of its nodes."""

    name: str
    zones: int
    nodes_per_zone: int


class Guest(NamedTuple):
    """A namespace with an interface in the VPC that is no node's."""

    namespace: Namespace
    interface_id: str
    addresses: tuple[str, ...]


class Fleet:
    """Entering it builds everything. `image` is the archive of cloudroute, for each node's container runtime."""

    def __init__(self, size: Size, terraform: Terraform, image: Future[Path], phases: Phases) -> None:
        self.prefix, self.folder = prefix_of(size.name), folder_of(size.name)
        self._size = size
        self.hosts: dict[str, ClusterHost] = {}
        self.account: Account
        self.applied: Mapping[str, Any]
        self.kube: RealKubeApi
        self.net: VpcNet
        self.plane: Guest
        """Host from which connections of the API server enter the VPC."""
        self.aws_url = ""
        self._terraform, self._image, self._phases = terraform, image, phases
        self._images: ImageStore
        self._generation: dict[str, int] = {}
        self._proxies: dict[str, subprocess.Popen[bytes]] = {}
        self._undo = ExitStack()

    def __enter__(self) -> Fleet:
        try:
            self._build()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _build(self) -> None:
        self.folder.mkdir(parents=True)
        self._undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        sizes = (f"zones={self._size.zones}", f"nodes_per_zone={self._size.nodes_per_zone}")
        self.account = self._undo.enter_context(account(self._terraform, *sizes))
        self.account.terraform("apply", "-auto-approve")
        self.applied = self.account.outputs()
        self._phases.done("Terraform has applied the environment")
        self._undo.callback(remove_namespaces, self.prefix)
        self.net = VpcNet(self.prefix, self.account.aws, self._vpc())
        self._undo.callback(self.net.close)
        self._enter_vpc()
        self._start_kube()
        self.aws_url = self._publish(self.account.url)
        self._phases.done("the VPC and the API server answer")
        folder = self.folder / "images"
        images = [self._image.result(), *make_images(folder)]
        if dns := coredns.make_dns_image(folder):
            images.append(dns)
        if assets := find_assets(["netpol"]):
            images.append(make_enforcer_image(assets / "netpol", folder))
        self._images = ImageStore(folder, images)
        self._phases.done("the images are there")
        self._undo.callback(self._delete_hosts)
        self.follow()
        self._phases.done("the hosts have booted")

    def _vpc(self) -> Vpc:
        zones = tuple(Zone(zone, "", table, ()) for zone, table in self.applied["route_table_ids"].items())
        return Vpc(self.applied["vpc_id"], tuple(self.applied["vpc_cidrs"]), "", zones)

    def _enter_vpc(self) -> None:
        """Give the control plane its interface in the VPC, as EKS does."""
        self.plane = self.guest("plane", self.applied["node_security_group_id"])
        self._egress = Egress(self.plane.namespace, self.folder / "egress")
        self._undo.callback(self._egress.close)

    def guest(self, name: str, group_id: str) -> Guest:
        """Give somebody who is no node an interface in a node's subnet."""
        node = next(iter(self.applied["nodes"].values()))
        about = {"Description": name, "Groups": [group_id], "Ipv6AddressCount": 1}
        made = self.account.aws.scene.ec2.create_network_interface(SubnetId=node["subnet_id"], **about)
        interface = made["NetworkInterface"]
        addresses = (interface["PrivateIpAddress"], interface["Ipv6Addresses"][0]["Ipv6Address"])
        found = Guest(Namespace(f"{self.prefix}{name}"), interface["NetworkInterfaceId"], addresses)
        found.namespace.create()
        self.net.attach_all({found.interface_id: found.namespace})
        return found

    def leave(self, guest: Guest) -> None:
        """Remove a guest's interface, which would keep its subnet from being deleted."""
        self.net.detach(guest.interface_id)
        self.account.aws.scene.ec2.delete_network_interface(NetworkInterfaceId=guest.interface_id)

    def _start_kube(self) -> None:
        self.kube = RealKubeApi(control_plane=True, address=OUTSIDE, flags=self._egress.flags)
        self.kube.add_user(PROXY)
        for instance in self.applied["nodes"]:
            for generation in range(GENERATIONS):
                self.kube.add_user(f"system:node:{_node_name(instance, generation)}")
        api = RealApi(self.kube, self.folder)
        self._undo.callback(api.close)
        self._publish(self.kube.url)

    def _publish(self, url: str) -> str:
        """Let a server of this machine's loopback answer in the internet, at the URL that is returned."""
        parts = urlsplit(url)
        relay = Relay(parts.port or 0)
        self._undo.callback(relay.close)
        relay.add(self.net.internet.namespace, OUTSIDE)
        return f"{parts.scheme}://{OUTSIDE}:{parts.port}"

    # --- hosts ------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Have exactly the hosts that Terraform says; a host whose instance is gone loses its power, and its Node."""
        self.applied = self.account.outputs()
        wanted = {node["instance_id"]: (instance, node) for instance, node in self.applied["nodes"].items()}
        for name, host in list(self.hosts.items()):
            if host.machine.id not in wanted:
                self._remove(name)
        known = {host.machine.id for host in self.hosts.values()}
        new = [self._host(*wanted[id_]) for id_ in wanted.keys() - known]
        for host in sorted(new, key=lambda host: host.name):
            host.create()
            self.hosts[host.name] = host
        self.net.attach_all({host.machine.id: host.namespace for host in new})
        for host in new:
            self._boot(host)
        for host in new:
            self._await(host)

    def _host(self, instance: str, node: Mapping[str, Any]) -> ClusterHost:
        generation = self._generation[instance] = self._generation.get(instance, -1) + 1
        name = _node_name(instance, generation)
        zone = Zone(node["zone"], node["subnet_id"], self.applied["route_table_ids"][node["zone"]], ())
        eni = node["interface_id"]
        machine = Machine(node["instance_id"], eni, (eni,), zone, tuple(node["addresses"]))
        zones = list(self.applied["route_table_ids"])
        return ClusterHost(name, zones.index(node["zone"]), machine, self.prefix, self.folder / name, ())

    def _boot(self, host: ClusterHost) -> None:
        """Start what an instance's user data would: container runtime, kubelet, kube-proxy."""
        user = f"system:node:{host.name}"
        kubeconfig = self.kube.kubeconfig_from_afar(host.folder / "kubelet.kubeconfig", user)
        host.boot(self.kube, kubeconfig, None, self._images, self._kubelet_settings(host.kubelet_folder))
        self.start_proxy(host)

    def _await(self, host: ClusterHost) -> None:
        eventually(lambda: self._names_zone(host), f"{host.name} registers: {_log(host)}")
        eventually(
            lambda: set(host.run("nft", "list", "tables").splitlines()) >= _TABLES, f"{host.name} has its chains"
        )

    def _kubelet_settings(self, folder: Path) -> Mapping[str, object]:
        """Write the files of an EKS node's kubelet into its folder: whom it serves, and its Resolver by DHCP."""
        folder.mkdir(parents=True)
        client_ca, resolv_conf = folder / "client-ca.pem", folder / "resolv.conf"
        client_ca.write_text(self._egress.client_ca)
        search = f"{self.applied['region']}.compute.internal"
        resolv_conf.write_text(f"nameserver {self.net.resolver_addresses[0]}\nsearch {search}\n")
        return {
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(client_ca)}},
            "authorization": {"mode": "Webhook"},
            "clusterDNS": list(coredns.ADDRESSES),
            "clusterDomain": coredns.DOMAIN,
            "resolvConf": str(resolv_conf),
        }

    def install_dns(self) -> None:
        """Create the cluster's DNS, as EKS does. Its pods wait for a network."""
        for item in coredns.manifests():
            self.kube.create(item)

    def start_proxy(self, host: ClusterHost) -> None:
        """Start kube-proxy on a host where none runs."""
        assets = find_assets(["kube-proxy"])
        assert assets, "the fixture has looked for it"
        kubeconfig = self.kube.kubeconfig_from_afar(host.folder / "proxy.kubeconfig", PROXY)
        command = [
            str(assets / "kube-proxy"), f"--kubeconfig={kubeconfig}", f"--hostname-override={host.name}",
            "--proxy-mode=nftables", "--healthz-bind-address=0.0.0.0:10256", "--metrics-bind-address=127.0.0.1:10249",
            # The kernel's, not the namespace's.
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]  # fmt: skip
        with (host.folder / "kube-proxy.log").open("wb") as log:
            self._proxies[host.name] = host.namespace.popen(command, stdout=log, stderr=log)

    def stop_proxy(self, host: ClusterHost) -> None:
        """End kube-proxy; its rules stay."""
        proxy = self._proxies.pop(host.name)
        proxy.kill()
        proxy.wait()

    def _names_zone(self, host: ClusterHost) -> bool:
        """Label the Node as the cloud provider does, once it is there."""
        if host.name not in {node["metadata"]["name"] for node in self.kube.list("nodes")}:
            return False
        labels = {"topology.kubernetes.io/zone": host.machine.zone.name}
        self.kube.patch("nodes", host.name, {"metadata": {"labels": labels}})
        return True

    def _remove(self, name: str) -> None:
        host = self.hosts.pop(name)
        self.net.detach(host.machine.id)
        self._switch_off(host)
        shutil.rmtree(host.folder, ignore_errors=True)
        self.kube.delete("nodes", name)

    def _delete_hosts(self) -> None:
        for host in self.hosts.values():
            self._switch_off(host)

    def _switch_off(self, host: ClusterHost) -> None:
        if host.name in self._proxies:
            self.stop_proxy(host)
        host.delete()

    # --- what there is ----------------------------------------------------------------------------

    def node_routes(self) -> list[Object]:
        """All NodeRoutes."""
        return self.kube.list("noderoutes")

    def settled(self) -> bool:
        """Whether each node's agent has done all that the present NodeRoute says."""
        routes = self.node_routes()
        return len(routes) == len(self.hosts) and all(
            route.get("status", {}).get("ready") is True
            and route["status"].get("observedGeneration") == route["metadata"]["generation"]
            for route in routes
        )

    def all_ready(self) -> bool:
        """Whether every kubelet says that its node is ready."""
        return all(node_ready(self.kube, name) for name in self.hosts)

    def adopt(self, name: str) -> bool:
        """Take a DaemonSet's pods into their hosts' `pods`; whether there is one on each."""
        for node, pod in running(self.kube, name).items():
            host = self.hosts.get(node)
            if host and name not in host.pods and host.runs(pod):
                host.adopt_pod(name, pod.name, pod.addresses)
        return all(name in host.pods for host in self.hosts.values())

    def writes(self) -> dict[str, int]:
        """Count the writes to EC2 since the last apply, by action."""
        calls = self.account.aws.calls.items()
        return {action: count for (action, _), count in calls if not action.startswith(("Describe", "Get"))}

    def routes(self) -> dict[str, dict[str, str]]:
        """The routes of each node's table that lead to ENIs, by table and destination."""
        return {
            table: {
                cidr: str(route["NetworkInterfaceId"])
                for cidr, route in self.account.aws.scene.routes(table).items()
                if "NetworkInterfaceId" in route
            }
            for table in self.applied["route_table_ids"].values()
        }

    def diagnosis(self) -> str:
        """Return the logs and the states of pods that a person would look at first."""
        return "\n".join([self.net.trouble, *_pods(self.kube), *(_log(host) for host in self.hosts.values())])


def _node_name(instance: str, generation: int) -> str:
    """Name of an instance's node: as in the cloud, one that replaces another has a new name."""
    return instance + generation * "-new"


def _pods(kube: RealKubeApi) -> Iterator[str]:
    for pod in kube.list("pods"):
        states = [one.get("state") for one in pod["status"].get("containerStatuses", ())]
        waits = [one.get("message") for one in pod["status"].get("conditions", ()) if one["status"] == "False"]
        yield f"{pod['metadata']['name']} on {pod['spec'].get('nodeName')}: {pod['status']['phase']} {states} {waits}"


def _log(host: ClusterHost) -> str:
    """The ends of the host's logs, its pods' too."""
    kept = [host.kubelet_folder / "host.log", *(host.kubelet_folder / "log" / "pods").glob("*/*/*.log")]
    said = []
    for path in kept:
        with contextlib.suppress(OSError):
            said.append(f"--- {path.relative_to(host.folder)}\n{path.read_text(errors='replace')[-1500:]}")
    return f"=== {host.name}\n" + "\n".join(said)
