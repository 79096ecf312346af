"""The chart and the manifests rendered from it say what the code, the RBAC and the CRDs say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute import __version__, crds
from cloudroute.adapters import sysctl
from cloudroute.config import AgentSettings, ControllerSettings, load
from cloudroute.config.declare import Settings, settings_of
from cloudroute.config.settings import SharedSettings
from cloudroute.dataplane import LEASES
from cloudroute.selector import Selector
from cloudroute.telemetry import AgentTelemetry, ControllerTelemetry
from cloudroute.types import Cidr
from tests.accounts import GATEWAYS
from tests.deploy.conftest import CHART, DEPLOY, ROOT, VALUES, Run, named

COMPONENTS: dict[str, tuple[str, type[Settings]]] = {
    "controller": ("Deployment", ControllerSettings),
    "agent": ("DaemonSet", AgentSettings),
}
GIVEN_BY_THE_CHART = {"listen", "namespace", "node-name"}
NOT_IN_A_POD = {"kubeconfig", "leader-elect", "once", "cleanup"}
TAKEN_PORTS = {10248, 10249, 10250, 10256, 10257, 10258, 10259, 10260}
"""By the programs of Kubernetes on a node."""


def plain() -> list[Any]:
    """The documents of deploy/cloudroute.yaml."""
    return [one for one in yaml.safe_load_all((DEPLOY / "cloudroute.yaml").read_text()) if one]


def rendered(helm: Run, *words: str) -> list[Any]:
    least = () if "--values" in words else VALUES
    answer = helm("template", "cloudroute", str(CHART), "--namespace", "cloudroute", *least, *words)
    assert answer.returncode == 0, answer.stderr
    return [one for one in yaml.safe_load_all(answer.stdout) if one]


def pod(documents: list[Any], component: str) -> Any:
    """The pod that runs a component."""
    return named(documents, COMPONENTS[component][0], f"cloudroute-{component}")["spec"]["template"]["spec"]


def settings(documents: list[Any], component: str) -> Any:
    """Settings by the arguments and the environment of that pod."""
    container = pod(documents, component)["containers"][0]
    command, *flags = container["args"]
    assert command == component
    kind = COMPONENTS[component][1]
    known = {setting.flag: setting.field for setting in settings_of(kind)}
    given: dict[str, list[str]] = {}
    for flag in flags:
        name, _, value = flag.partition("=")
        given.setdefault(known[name], []).append(value)
    environment = {one["name"]: one.get("value", "the-node") for one in container.get("env", ())}
    return load((kind,), given, environment)[kind]


def test_lint_has_nothing_to_say(helm: Run) -> None:
    """`helm lint --strict` with the values of the plain manifests."""
    answer = helm("lint", "--strict", "--quiet", str(CHART), "--values", str(CHART / "plain.yaml"))
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stdout


def test_the_plain_manifests_are_those_of_the_chart(helm: Run) -> None:
    """deploy/cloudroute.yaml is what deploy/chart/render.sh prints."""
    printed = subprocess.run([CHART / "render.sh"], capture_output=True, text=True, check=True).stdout
    same = printed == (DEPLOY / "cloudroute.yaml").read_text()
    assert same, "run: deploy/chart/render.sh >deploy/cloudroute.yaml"


def test_it_is_released_with_the_program() -> None:
    """The chart's version, the program's and the image's tag are one."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    images = {component: pod(plain(), component)["containers"][0]["image"] for component in COMPONENTS}
    assert images == dict.fromkeys(COMPONENTS, f"cloudroute:{__version__}")


def test_the_crds_are_the_programs() -> None:
    """The chart has copies of the files that `cloudroute crd` prints; the manifests have the same, and keep them."""
    source = Path(crds.__file__).parent
    for path in source.glob("*.yaml"):
        same = (CHART / "files" / "crds" / path.name).read_bytes() == path.read_bytes()
        assert same, f"run: cp {path} deploy/chart/files/crds/"
    for definition in crds.manifests():
        found = named(plain(), "CustomResourceDefinition", definition["metadata"]["name"])
        assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert found == definition


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_permissions_are_those_that_are_tested(component: str) -> None:
    """Accounts, rules and bindings equal deploy/rbac, and there are no others."""
    kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
    stripped = {}
    for where, documents in (
        ("chart", plain()),
        ("rbac", list(yaml.safe_load_all((DEPLOY / "rbac" / f"{component}.yaml").read_text()))),
    ):
        found = [one for one in documents if one["kind"] in kinds and component in one["metadata"]["name"]]
        for one in found:
            one["metadata"].pop("labels", None)
        stripped[where] = sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))
    assert stripped["chart"] == stripped["rbac"]


def test_gateways_bring_their_permissions_and_their_policy(helm: Run) -> None:
    """With --gateway-nodes the chart has all of deploy/rbac/gateways, and without it nothing of that."""

    def by_name(documents: list[Any]) -> dict[tuple[str, str], Any]:
        return {(one["kind"], one["metadata"]["name"]): one for one in documents}

    more = by_name(rendered(helm, *VALUES, "--set", "controller.settings.gateway-nodes=role=gateway"))
    for key in by_name(rendered(helm, *VALUES)):
        del more[key]
    for one in more.values():
        del one["metadata"]["labels"]
    assert more == by_name(list(yaml.safe_load_all(GATEWAYS.read_text())))


def test_the_schema_knows_each_flag() -> None:
    """Values are the flags of the programs, except flags that make no sense in a pod or that the chart sets."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    shared = {setting.key for setting in settings_of(SharedSettings)}
    hidden = GIVEN_BY_THE_CHART | NOT_IN_A_POD
    assert schema["settings"]["properties"].keys() == shared - hidden
    for component, (_, kind) in COMPONENTS.items():
        own = {setting.key for setting in settings_of(kind)} - shared - hidden
        assert schema[component]["properties"]["settings"]["properties"].keys() == own


def test_the_programs_take_what_the_chart_gives(helm: Run, tmp_path: Path) -> None:
    """Every flag of the values arrives with its value, whatever YAML makes of `off` and of whole numbers."""
    values = tmp_path / "values.yaml"
    values.write_text("""
settings:
  {cluster-name: prod, cluster-cidr: [10.244.0.0/16, "fd00:10:244::/48"], node-mask-v4: 25, node-mask-v6: 112,
  log-level: debug}
controller:
  settings:
    {region: eu-central-1, vpc-id: vpc-0a1b2c3d, route-table: [rtb-0a1b2c3d, rtb-0a1b2c3e], route-limit: 1000,
    route-reserve: 5, direct-routing: off, overlay: off, resync-seconds: 90, settle-seconds: 0.5, drain-seconds: 20,
    reserved-cidr: [10.244.0.0/24], node-selector: "pool in (a, b),!old", lease-duration: 30, renew-deadline: 20,
    retry-period: 4, status-page: off, gateway-nodes: "role=gateway,!old", gateway-routes: 4,
    gateway-lease-seconds: 2.5}
agent:
  settings:
    {interface: ens5, vni: 10000000, vxlan-port: 4789, mtu: 1400, cni-conf-dir: /etc/other, masquerade: off,
    masquerade-except: [10.0.0.0/8], masquerade-always: [10.0.0.0/30],
    gateway-keeps-source: on}
""")
    documents = rendered(helm, "--values", str(values))
    pools = (Cidr.parse("10.244.0.0/16"), Cidr.parse("fd00:10:244::/48"))
    controller, agent = (settings(documents, component) for component in COMPONENTS)
    assert (controller.cluster_name, controller.cluster_cidr, agent.cluster_cidr) == ("prod", pools, pools)
    assert (controller.route_limit, controller.direct_routing, controller.overlay) == (1000, "off", False)
    assert controller.status_page is False
    assert str(controller.node_selector) == "pool in (a, b),!old"
    gateways = (controller.gateway_nodes, controller.gateway_routes, controller.gateway_lease_seconds)
    assert gateways == (Selector.parse("role=gateway,!old"), 4, 2.5)
    assert (agent.gateway_keeps_source, agent.namespace, controller.namespace) == (True, "cloudroute", "cloudroute")
    assert (controller.route_table, controller.settle_seconds) == (("rtb-0a1b2c3d", "rtb-0a1b2c3e"), 0.5)
    assert (agent.vni, agent.masquerade, agent.interface, agent.node_name) == (10_000_000, False, "ens5", "the-node")
    assert agent.mtu == 1400
    flags = {flag.partition("=")[0].lstrip("-") for name in COMPONENTS for flag in args(documents, name)}
    declared = {setting.key for _, kind in COMPONENTS.values() for setting in settings_of(kind)}
    assert flags == declared - NOT_IN_A_POD - {"node-name"}


def args(documents: list[Any], component: str) -> list[str]:
    return [str(word) for word in pod(documents, component)["containers"][0]["args"][1:]]


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_plain_manifests_are_understood(component: str) -> None:
    """The programs start with them, on ports of the node that nothing of Kubernetes has."""
    taken = settings(plain(), component)
    others = {settings(plain(), other).listen.port for other in COMPONENTS if other != component}
    assert taken.listen.port not in TAKEN_PORTS | others
    assert pod(plain(), component)["hostNetwork"]


def test_the_hosts_folders_are_mounted_by_the_same_paths(helm: Run) -> None:
    """The folder of CNI configurations and that of the plugins are the host's, by the same paths."""
    words = ("--set", "agent.settings.cni-conf-dir=/etc/other", "--set", "agent.cniBinDir=/usr/lib/cni")
    documents = rendered(helm, *words)
    container, volumes = pod(documents, "agent")["containers"][0], pod(documents, "agent")["volumes"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in volumes}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {
        "cni-conf": "/etc/other", "cni-bin": "/usr/lib/cni", "sysctls": "/proc/sys/net", "leases": LEASES,
    }  # fmt: skip
    assert mounts == {**paths, "sysctls": "/host/proc/sys/net"}
    assert {"name": "CNI_PATH", "value": "/usr/lib/cni"} in container["env"]
    assert settings(documents, "agent").cni_conf_dir == "/etc/other"


WRONG: list[tuple[tuple[str, ...], str]] = [
    ((), "settings.cluster-cidr is missing: name the pool"),
    (
        ("--set", "settings.cluster-cidr={10.244.0.0}"),
        "'/settings/cluster-cidr/0': '10.244.0.0' does not match pattern",
    ),
    (("--set", "settings.cluster-cidr=10.244.0.0/16"), "'/settings/cluster-cidr': got string, want array"),
    ((*VALUES, "--set", "controller.settings.route-limt=5"), "additional properties 'route-limt' not allowed"),
    ((*VALUES, "--set", "controller.settings.route-limit=2000"), "maximum: got 2,000, want 1,000"),
    ((*VALUES, "--set", "controller.settings.direct-routing=no"), "must be one of 'auto', 'always', 'off'"),
    ((*VALUES, "--set", "controller.settings.node-selector=pool>1"), "'pool>1' does not match pattern"),
    ((*VALUES, "--set", "controller.settings.gateway-routes=3"), "'/controller/settings/gateway-routes'"),
    ((*VALUES, "--set", "controller.settings.gateway-lease-seconds=1"), "minimum: got 1, want 2"),
    (
        (*VALUES, "--set", "controller.settings.gateway-nodes=a,admissionPolicy.enabled=false"),
        "controller.settings.gateway-nodes needs admissionPolicy.enabled=true",
    ),
    ((*VALUES, "--set", "controller.replicas=0"), "'/controller/replicas': minimum: got 0, want 1"),
    ((*VALUES, "--set", "controller.resources.limits.memory=lots"), "'/controller/resources/limits/memory': 'lots'"),
    ((*VALUES, "--set", "agent.port=10456"), "controller.port and agent.port are both 10456"),
    ((*VALUES, "--set", "agent.maxUnavailable=all"), "'/agent/maxUnavailable'"),
    ((*VALUES, "--set", "agent.cniPlugins=plugins"), "'/agent/cniPlugins': got string, want boolean"),
    ((*VALUES, "--set", "agent.env[0].name=CLOUDROUTE_VNI"), "'/agent/env/0/name'"),
    ((*VALUES, "--set", "agent.appArmorProfile.type=None"), "'/agent/appArmorProfile/type': value must be one of"),
    ((*VALUES, "--set", "image.digest=latest"), "'/image/digest': 'latest' does not match pattern"),
    ((*VALUES, "--set", "admissionPolicy.enabled=maybe"), "'/admissionPolicy/enabled': got string, want boolean"),
    ((*VALUES, "--set", "networkPolicies.enabled=maybe"), "'/networkPolicies/enabled': got string, want boolean"),
    ((*VALUES, "--set", "networkPolicies.image.digest=1"), "'/networkPolicies/image/digest': got number, want string"),
    ((*VALUES, "--set", "networkPolicies.image.tag="), "'/networkPolicies/image/tag': '' does not match pattern"),
    ((*VALUES, "--set", "networkPolicies.failOpen=no"), "'/networkPolicies/failOpen': got string, want boolean"),
    (
        (*VALUES, "--set", "networkPolicies.enabled=true,networkPolicies.port=10457"),
        "networkPolicies.port is 10457, as controller.port or agent.port",
    ),
    ((*VALUES, "--set", "crds.create=1"), "'/crds/create': got number, want boolean"),
    ((*VALUES, "--set", "namespace.create=cloudroute"), "'/namespace/create': got string, want boolean"),
    ((*VALUES, "--set", "monitoring.serviceMonitor.interval=often"), "'/monitoring/serviceMonitor/interval': 'often'"),
    ((*VALUES, "--set", "global=everywhere"), "'/global': got string, want object"),
    ((*VALUES, "--set", "controler.replicas=3"), "additional properties 'controler' not allowed"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_value_is_refused(helm: Run, words: tuple[str, ...], said: str) -> None:
    """By its name, before anything is sent."""
    answer = helm("template", "cloudroute", str(CHART), *words)
    assert answer.returncode == 1
    assert said in answer.stderr


def test_each_section_has_a_wrong_value() -> None:
    """Among those above."""
    sections = json.loads((CHART / "values.schema.json").read_text())["properties"].keys()
    tried = {re.split(r"[.=]", words[-1])[0] for words, _ in WRONG if words}
    assert tried >= sections


def test_the_controller_has_no_privileges() -> None:
    """It is nobody, writes nowhere, gains nothing; and stays where a cluster starts or is drained."""
    spec = pod(plain(), "controller")
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "volumes" not in spec
    assert "node.kubernetes.io/not-ready" in {toleration["key"] for toleration in spec["tolerations"]}


def test_no_agent_is_where_the_controller_leaves_nodes_alone() -> None:
    """Not on Windows, and not where EKS brings the network, though it tolerates every taint."""
    spec = pod(plain(), "agent")
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    values = ["fargate", "hybrid", "auto"]
    assert expression == {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": values}


def test_the_agent_has_one_capability(helm: Run) -> None:
    """It is root without privileges: NET_ADMIN, and of the host three folders, of which it writes two."""
    (container,) = pod(plain(), "agent")["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": {"type": "spc_t"},
    }
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"cni-conf", "sysctls"}
    assert mounts["sysctls"]["mountPath"] == f"{sysctl.ELSEWHERE}/net"
    given = ("--set", "agent.appArmorProfile.type=Unconfined,agent.seLinuxOptions=null")
    context = pod(rendered(helm, *VALUES, *given), "agent")["containers"][0]["securityContext"]
    assert context["appArmorProfile"] == {"type": "Unconfined"}
    assert "seLinuxOptions" not in context


ENFORCED = "networkPolicies.enabled=true"
ENFORCER = "cloudroute-network-policies"


def enforcer(documents: list[Any]) -> Any:
    """The pod that enforces NetworkPolicies."""
    return named(documents, "DaemonSet", ENFORCER)["spec"]["template"]["spec"]


def test_network_policies_are_enforced_where_they_are_switched_on(helm: Run) -> None:
    """By a DaemonSet with an account of its own, and all else is the same."""
    without, with_them = (rendered(helm, *VALUES, "--set", value) for value in ("crds.create=true", ENFORCED))
    added = [one for one in with_them if one not in without]
    assert {(one["kind"], one["metadata"]["name"]) for one in added} == {
        (kind, ENFORCER) for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet")
    }
    assert len(added) == len(with_them) - len(without) == 4
    assert ENFORCER not in {one["metadata"]["name"] for one in plain()}


def test_the_enforcer_has_one_capability_and_nothing_of_the_host_but_its_network(helm: Run) -> None:
    """NET_ADMIN as the agent, of the API server what policies name, and no folder."""
    documents = rendered(helm, *VALUES, "--set", ENFORCED)
    spec = enforcer(documents)
    (container,) = spec["containers"]
    agents = pod(documents, "agent")["containers"][0]["securityContext"]
    assert container["securityContext"] == {key: agents[key] for key in agents if key != "seLinuxOptions"}
    assert spec["hostNetwork"]
    assert not {"volumes", "initContainers", "hostPID"} & spec.keys()
    rules = named(documents, "ClusterRole", ENFORCER)["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    assert {name for rule in rules for name in rule["resources"]} == {"pods", "namespaces", "networkpolicies"}
    assert "--metrics-bind-address=127.0.0.1:10458" in container["args"]


def test_the_enforcer_runs_where_agents_run(helm: Run) -> None:
    """And finds the API server as they do."""
    words = ("agent.nodeSelector.pool=a", "agent.env[0].name=KUBERNETES_SERVICE_HOST", "agent.env[0].value=192.0.2.1")
    documents = rendered(helm, *VALUES, "--set", ",".join((ENFORCED, *words)))
    spec, agents = enforcer(documents), pod(documents, "agent")
    for key in ("nodeSelector", "affinity", "tolerations", "hostNetwork", "priorityClassName"):
        assert spec[key] == agents[key]
    assert spec["containers"][0]["env"][1:] == [{"name": "KUBERNETES_SERVICE_HOST", "value": "192.0.2.1"}]


def test_the_enforcer_is_the_version_that_is_tested(helm: Run) -> None:
    """By its digest, unless an image without one is given."""
    script = (ROOT / "tests" / "tools" / "policies-assets.sh").read_text()
    (version,) = re.findall(r"^policies=(\S+)", script, re.MULTILINE)
    image = enforcer(rendered(helm, *VALUES, "--set", ENFORCED))["containers"][0]["image"]
    name = "registry.k8s.io/networking/kube-network-policies"
    assert re.fullmatch(rf"{name}:v{re.escape(version)}@sha256:[0-9a-f]{{64}}", image)
    other = "networkPolicies.image.repository=example.org/policies,networkPolicies.image.digest="
    image = enforcer(rendered(helm, *VALUES, "--set", f"{ENFORCED},{other}"))["containers"][0]["image"]
    assert image == f"example.org/policies:v{version}"


def test_the_pod_of_helm_test_finds_the_api_server_as_the_controller_does(helm: Run) -> None:
    """By the same variables: where no kube-proxy runs, the Service leads nowhere."""
    words = ("--set", "controller.env[0].name=KUBERNETES_SERVICE_HOST,controller.env[0].value=192.0.2.1")
    documents = rendered(helm, *VALUES, *words)
    tester = named(documents, "Pod", "cloudroute-test")["spec"]["containers"][0]
    assert tester["env"] == pod(documents, "controller")["containers"][0]["env"] != []


def test_a_digest_wins_over_the_tag(helm: Run) -> None:
    """The image is named by what it is."""
    digest = "sha256:" + "0" * 64
    documents = rendered(
        helm, "--set", f"image.repository=example.org/net/cloudroute,image.tag=x,image.digest={digest}"
    )
    assert pod(documents, "agent")["containers"][0]["image"] == f"example.org/net/cloudroute@{digest}"


def test_alerts_and_dashboard_ask_for_what_there_is(helm: Run) -> None:
    """Off by default; where they are on, each metric that they name is one that controller or agent gives."""
    assert not [one for one in plain() if one["kind"] in ("ServiceMonitor", "PrometheusRule", "ConfigMap", "Service")]
    switches = [f"monitoring.{name}.enabled=true" for name in ("serviceMonitor", "rules", "dashboard")]
    few = named(rendered(helm, "--set", ",".join(switches)), "PrometheusRule", "cloudroute")["spec"]["groups"]
    documents = rendered(helm, "--set", ",".join((*switches, "controller.settings.gateway-nodes=role=gateway")))
    monitors = [one for one in documents if one["kind"] == "ServiceMonitor"]
    services = [one for one in documents if one["kind"] == "Service"]
    for monitor, service in zip(monitors, services, strict=True):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    rules = named(documents, "PrometheusRule", "cloudroute")["spec"]["groups"]
    dashboard = json.loads(named(documents, "ConfigMap", "cloudroute-dashboard")["data"]["cloudroute.json"])
    assert [group["name"] for group in rules] == [*(group["name"] for group in few), "cloudroute-gateways"]
    asked = [rule["expr"] for group in rules for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    given = {
        sample
        for telemetry in (ControllerTelemetry(), AgentTelemetry())
        for metric in telemetry.registry.collect()
        for sample in (metric.name, f"{metric.name}_total", f"{metric.name}_bucket")
    }
    assert set(re.findall(r"cloudroute_\w+", " ".join(asked))) <= given


def test_plugins_are_installed_unless_the_node_brings_them(helm: Run) -> None:
    """By an init container of the same image, as root without capabilities, that alone can write their folder."""
    words = ("--set", "agent.cniBinDir=/usr/libexec/cni,image.repository=example.org/cloudroute")
    spec = pod(rendered(helm, *VALUES, *words), "agent")
    (init,), (agent,) = spec["initContainers"], spec["containers"]
    assert init["image"] == agent["image"]
    assert init["command"][-1] == init["volumeMounts"][0]["mountPath"] == "/host/usr/libexec/cni"
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"name": "cni-bin", "hostPath": {"path": "/usr/libexec/cni", "type": "DirectoryOrCreate"}} in spec["volumes"]
    assert "initContainers" not in pod(rendered(helm, *VALUES, "--set", "agent.cniPlugins=false"), "agent")
