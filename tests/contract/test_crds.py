"""cloudroute's CustomResourceDefinitions: validation, and kubectl's columns."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from tests.contract.conftest import Answer, Api, Json
from tests.waiting import eventually

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/cloudroute.io/v1alpha1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

ROUTE = {
    "podCIDRs": ["10.1.0.0/24", "fd00:1::/80"],
    "nodeIPs": ["10.0.0.1", "fd00::1"],
    "instanceID": "i-0a",
    "networkInterfaceID": "eni-0a",
    "subnetID": "subnet-0a",
    "routeTableID": "rtb-0a",
    "nativeIn": ["rtb-0a"],
}
SUBNET = {"id": "subnet-0a", "zone": "us-east-1a", "cidrs": ["10.0.0.0/20", "fd00:0:0:1::/64"]}
REPORT = {"vpcID": "vpc-0a", "subnets": [SUBNET]}
USE = {"limit": 50, "used": 12, "ours": 10, "foreign": 2}


def write(api: Api, kind: str, name: str, spec: Json) -> Answer:
    body = {"apiVersion": "cloudroute.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return api.ask("POST", f"{GROUP}/{kind.lower()}s", body)


def change(api: Api, path: str, patch: Json) -> Answer:
    return api.ask("PATCH", f"{GROUP}/{path}", patch, "merge")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"podCIDRs": ["10.1.0.7/24"]}, ["spec.podCIDRs[0]"]),
        ({"podCIDRs": ["10.1.0.0"]}, ["spec.podCIDRs[0]"]),
        ({"podCIDRs": ["10.1.0.0/24", "FD00:1::/80"]}, ["spec.podCIDRs[1]"]),
        ({"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}, ["spec.podCIDRs"]),
        ({"podCIDRs": []}, ["spec.podCIDRs"]),
        ({"podCIDRs": "10.1.0.0/24"}, ["spec.podCIDRs"]),
        ({"nodeIPs": ["10.0.0.1/24"]}, ["spec.nodeIPs[0]"]),
        ({"nodeIPs": ["10.0.0.1", "fd00:0::1"]}, ["spec.nodeIPs[1]"]),
        ({"instanceID": "web-1"}, ["spec.instanceID"]),
        ({"instanceID": 7}, ["spec.instanceID"]),
        ({"networkInterfaceID": ""}, ["spec.networkInterfaceID"]),
        ({"subnetID": "10.0.0.0/24"}, ["spec.subnetID"]),
        ({"nativeIn": ["rtb-0a", "main"]}, ["spec.nativeIn[1]"]),
        ({"instanceID": "i-x", "subnetID": "y"}, ["spec.instanceID", "spec.subnetID"]),
        ({"gateway": "yes"}, ["spec.gateway"]),
    ],
)
def test_a_bad_node_route_is_refused(kube_api: Api, name: str, changes: Json, fields: list[str]) -> None:
    """422 names each field: CIDRs and addresses in canonical form, one CIDR of a family, ids of the right kind."""
    answer = write(kube_api, "NodeRoute", name, {**ROUTE, **changes})
    assert (answer.status, answer.fields) == (422, fields)


@pytest.mark.parametrize("field", ["podCIDRs", "instanceID", "networkInterfaceID", "routeTableID"])
def test_a_node_route_without_identity_is_refused(kube_api: Api, name: str, field: str) -> None:
    """A NodeRoute without instance, interface or addresses is refused."""
    spec = {key: value for key, value in ROUTE.items() if key != field}
    answer = write(kube_api, "NodeRoute", name, spec)
    assert (answer.status, answer.fields) == (422, [f"spec.{field}"])


@pytest.mark.parametrize(
    ("field", "value"), [("podCIDRs", ["10.2.0.0/24"]), ("podCIDRs", ["10.1.0.0/24"]), ("instanceID", "i-0b")]
)
def test_the_identity_of_a_node_route_never_changes(kube_api: Api, name: str, field: str, value: Json) -> None:
    """Pod CIDRs and instance of a NodeRoute are immutable."""
    made = write(kube_api, "NodeRoute", name, ROUTE)
    answer = change(kube_api, f"noderoutes/{name}", {"spec": {field: value}})
    assert (answer.status, answer.fields) == (422, [f"spec.{field}"])
    assert kube_api.ask("GET", f"{GROUP}/noderoutes/{name}").body == made.body


def test_the_rest_of_a_node_route_changes(kube_api: Api, name: str) -> None:
    """Interface, subnet, tables and addresses can change; lists are replaced, and the generation counts."""
    made = write(kube_api, "NodeRoute", name, ROUTE)
    assert made.body["metadata"]["generation"] == 1
    changes = {"networkInterfaceID": "eni-0b", "subnetID": "", "routeTableID": "rtb-0b", "nativeIn": [], "nodeIPs": []}
    answer = change(kube_api, f"noderoutes/{name}", {"spec": changes})
    assert (answer.status, answer.body["spec"]) == (200, {**ROUTE, **changes})
    assert answer.body["metadata"]["generation"] == 2


def test_a_node_is_a_gateway_until_a_patch_removes_it(kube_api: Api, name: str) -> None:
    """`gateway` is absent on other nodes: the controller writes null when a node ends as one."""
    assert write(kube_api, "NodeRoute", name, ROUTE).body["spec"] == ROUTE
    answer = change(kube_api, f"noderoutes/{name}", {"spec": {"gateway": True}})
    assert answer.body["spec"] == {**ROUTE, "gateway": True}
    assert change(kube_api, f"noderoutes/{name}", {"spec": {"gateway": None}}).body["spec"] == ROUTE


def test_spec_and_status_are_apart(kube_api: Api, name: str) -> None:
    """A create and a patch ignore the status; a patch of /status changes the status only, and no generation."""
    body = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": name}, "spec": ROUTE}
    made = kube_api.ask("POST", f"{GROUP}/noderoutes", {**body, "status": {"ready": True}})
    assert "status" not in made.body
    ignored = change(kube_api, f"noderoutes/{name}", {"status": {"ready": True}})
    assert (ignored.status, ignored.version) == (200, made.version)
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"subnetID": ""}, "status": {"ready": True, "path": "partial"}}
    written = change(kube_api, f"noderoutes/{name}/status", patch)
    assert written.body["status"] == {"ready": True, "path": "partial"}
    assert written.body["spec"] == ROUTE
    assert "labels" not in written.body["metadata"]
    assert written.body["metadata"]["generation"] == 1
    assert change(kube_api, f"noderoutes/{name}", {"spec": {"subnetID": ""}}).body["status"] == written.body["status"]


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"path": 1}, "status.path"),
        ({"mtu": "1450"}, "status.mtu"),
        ({"mtu": -1}, "status.mtu"),
        ({"paths": {"native": 1.5}}, "status.paths.native"),
        ({"since": "yesterday"}, "status.since"),
    ],
)
def test_a_bad_status_is_refused(kube_api: Api, name: str, status: Json, field: str) -> None:
    """Types, ranges, enums and times of a status are validated."""
    write(kube_api, "NodeRoute", name, ROUTE)
    answer = change(kube_api, f"noderoutes/{name}/status", {"status": status})
    assert (answer.status, answer.fields) == (422, [field])


def test_agents_of_two_versions_may_have_other_words_for_a_path(kube_api: Api, name: str) -> None:
    """Paths of two versions are stored, and the spec beside them can change, as during an upgrade."""
    write(kube_api, "NodeRoute", name, ROUTE)
    written = change(kube_api, f"noderoutes/{name}/status", {"status": {"path": "another"}})
    assert (written.status, written.body["status"]) == (200, {"path": "another"})
    assert change(kube_api, f"noderoutes/{name}", {"spec": {"nativeIn": []}}).status == 200


def test_unknown_fields_are_pruned(kube_api: Api, name: str) -> None:
    """Unknown fields are pruned at any depth, and so is null."""
    spec = {**REPORT, "subnets": [{**SUBNET, "colour": "red"}], "colour": "red"}
    assert write(kube_api, "RouteTable", name, spec).body["spec"] == REPORT
    other = {**ROUTE, "subnetID": None}
    assert "subnetID" not in write(kube_api, "NodeRoute", name, other).body["spec"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"vpcID": "10.0.0.0/16"}, ["spec.vpcID"]),
        ({"subnets": [{"zone": "a"}]}, ["spec.subnets[0].id"]),
        ({"subnets": [{**SUBNET, "cidrs": ["10.0.0.1/20"]}]}, ["spec.subnets[0].cidrs[0]"]),
    ],
)
def test_a_bad_route_table_is_refused(kube_api: Api, name: str, changes: Json, fields: list[str]) -> None:
    """Of subnets, the id is required and CIDRs are canonical."""
    answer = write(kube_api, "RouteTable", name, {**REPORT, **changes})
    assert (answer.status, answer.fields) == (422, fields)


def test_a_route_table_stays_in_its_vpc(kube_api: Api, name: str) -> None:
    """vpcID never changes; the subnets may."""
    write(kube_api, "RouteTable", name, REPORT)
    moved = change(kube_api, f"routetables/{name}", {"spec": {"vpcID": "vpc-0b"}})
    assert (moved.status, moved.fields) == (422, ["spec.vpcID"])
    assert change(kube_api, f"routetables/{name}", {"spec": {"subnets": []}}).body["spec"]["subnets"] == []


def test_the_use_of_a_route_table_is_whole(kube_api: Api, name: str) -> None:
    """A family has all four figures or is absent; null removes it, or a learned limit."""
    write(kube_api, "RouteTable", name, REPORT)
    path = f"routetables/{name}/status"
    partial = change(kube_api, path, {"status": {"ipv4": {"limit": 50}}})
    assert (partial.status, partial.fields) == (422, ["status.ipv4.foreign", "status.ipv4.ours", "status.ipv4.used"])
    both = change(kube_api, path, {"status": {"ipv4": {**USE, "learnedLimit": 40}, "ipv6": USE}})
    assert both.body["status"] == {"ipv4": {**USE, "learnedLimit": 40}, "ipv6": USE}
    one = change(kube_api, path, {"status": {"ipv4": {**USE, "learnedLimit": None}, "ipv6": None}})
    assert one.body["status"] == {"ipv4": USE}


AGGREGATE = {"destination": "10.244.0.0/16", "node": "node-1"}


def test_the_journal_of_aggregates_is_replaced_and_removed(kube_api: Api, name: str) -> None:
    """A merge patch replaces the list as a whole, of both families; null removes it."""
    write(kube_api, "RouteTable", name, REPORT)
    path = f"routetables/{name}/status"
    ipv6 = {**USE, "gateways": [{"destination": "fd00:10:244::/48", "node": "node-2"}]}
    two = {**USE, "gateways": [AGGREGATE, {"destination": "10.245.0.0/16", "node": "node-2"}]}
    assert change(kube_api, path, {"status": {"ipv4": two, "ipv6": ipv6}}).body["status"] == {"ipv4": two, "ipv6": ipv6}
    one = {**USE, "gateways": [AGGREGATE]}
    assert change(kube_api, path, {"status": {"ipv4": one}}).body["status"] == {"ipv4": one, "ipv6": ipv6}
    none = change(kube_api, path, {"status": {"ipv4": {"gateways": None}, "ipv6": {"gateways": None}}})
    assert none.body["status"] == {"ipv4": USE, "ipv6": USE}


@pytest.mark.parametrize(
    ("gateways", "field"),
    [
        ([{**AGGREGATE, "destination": "10.244.0.1/16"}], "[0].destination"),
        ([{**AGGREGATE, "destination": "FD00:10:244::/48"}], "[0].destination"),
        ([AGGREGATE, {**AGGREGATE, "destination": "all"}], "[1].destination"),
        ([{**AGGREGATE, "node": "n" * 254}], "[0].node"),
        ([{"destination": "10.244.0.0/16"}], "[0].node"),
        ([{"node": "node-1"}], "[0].destination"),
        (AGGREGATE, ""),
        ([AGGREGATE] * 129, ""),
    ],
)
def test_a_bad_journal_is_refused(kube_api: Api, name: str, gateways: Json, field: str) -> None:
    """Destinations are canonical CIDRs, nodes are named, and the list has an end."""
    write(kube_api, "RouteTable", name, REPORT)
    answer = change(kube_api, f"routetables/{name}/status", {"status": {"ipv4": {**USE, "gateways": gateways}}})
    assert (answer.status, answer.fields) == (422, [f"status.ipv4.gateways{field}"])


# --- What people see ----------------------------------------------------------------------------


def columns(api: Api, path: str) -> dict[str, Json]:
    """The cells of one object by the names of their columns, those of `-o wide` marked."""
    answer = api.ask("GET", path, Accept=TABLE).body
    heads = [f"{column['name']}{' (wide)' if column['priority'] else ''}" for column in answer["columnDefinitions"]]
    (row,) = answer["rows"]
    return dict(zip(heads, row["cells"], strict=True))


def test_the_columns_of_a_node_route(kube_api: Api, name: str) -> None:
    """Pod CIDRs, path, addresses and subnet."""
    write(kube_api, "NodeRoute", name, ROUTE)
    assert columns(kube_api, f"{GROUP}/noderoutes/{name}")["Path"] is None
    change(kube_api, f"noderoutes/{name}/status", {"status": {"path": "native"}})
    cells = columns(kube_api, f"{GROUP}/noderoutes/{name}")
    assert cells.pop("Age").endswith("s")
    assert cells == {
        "Name": name,
        "Pod-CIDR": '["10.1.0.0/24","fd00:1::/80"]',
        "Path": "native",
        "Node-IP": '["10.0.0.1","fd00::1"]',
        "Subnet": "subnet-0a",
    }


def test_the_columns_of_a_route_table(kube_api: Api, name: str) -> None:
    """The figures of IPv4; those of IPv6 with -o wide."""
    write(kube_api, "RouteTable", name, REPORT)
    change(kube_api, f"routetables/{name}/status", {"status": {"ipv4": USE, "ipv6": {**USE, "used": 3}}})
    cells = columns(kube_api, f"{GROUP}/routetables/{name}")
    assert cells.pop("Age").endswith("s")
    assert cells.pop("Subnets") == '[{"cidrs":["10.0.0.0/20","fd00:0:0:1::/64"],"id":"subnet-0a","zone":"us-east-1a"}]'
    ipv6 = {"Limit-v6 (wide)": 50, "Used-v6 (wide)": 3, "Ours-v6 (wide)": 10, "Foreign-v6 (wide)": 2}
    assert cells == {"Name": name, "VPC": "vpc-0a", "Limit": 50, "Used": 12, "Ours": 10, "Foreign": 2, **ipv6}


def test_the_short_names(kube_api: Api) -> None:
    """Discovery lists both kinds, with short names and status subresource."""
    resources = {item["name"]: item for item in kube_api.ask("GET", GROUP).body["resources"]}
    assert sorted(resources) == ["noderoutes", "noderoutes/status", "routetables", "routetables/status"]
    assert resources["noderoutes"]["shortNames"] == ["nr"]
    assert resources["routetables"]["shortNames"] == ["rtb"]
    assert not resources["noderoutes"]["namespaced"]


# --- Definitions in general ---------------------------------------------------------------------


@pytest.fixture
def definition(kube_api: Api, name: str) -> Iterator[Json]:
    """A definition for this test, removed afterwards."""
    group = f"{name}.cloudroute.io"
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    yield {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {"group": group, "scope": "Cluster", "names": names, "versions": [version]},
    }
    kube_api.ask("DELETE", f"{DEFINITIONS}/things.{group}")


def things(definition: Json) -> str:
    return f"/apis/{definition['spec']['group']}/v1/things"


def thing(definition: Json, name: str, **spec: Json) -> Json:
    metadata = {"name": name}
    return {"apiVersion": f"{definition['spec']['group']}/v1", "kind": "Thing", "metadata": metadata, "spec": spec}


def until_status(api: Api, path: str, expected: int, on_the_way: set[int]) -> None:
    """Ask until the status is as expected; earlier ones must be in `on_the_way`."""

    def answered() -> bool:
        status = api.ask("GET", path).status
        assert status in {expected, *on_the_way}
        return status == expected

    eventually(answered, f"{path} answers {expected}")


def test_a_definition_is_served_soon_and_ends_with_its_objects(kube_api: Api, definition: Json) -> None:
    """404, perhaps 429, then 200; when it is deleted its objects are too, and the path answers 404 again."""
    kube_api.ask("POST", DEFINITIONS, definition)
    until_status(kube_api, things(definition), 200, {404, 429})
    made = kube_api.ask("POST", things(definition), thing(definition, "a"))
    assert (made.status, made.body["spec"]) == (201, {"size": 3}), "defaults are filled in"
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    conditions = {item["type"]: item["status"] for item in kube_api.ask("GET", path).body["status"]["conditions"]}
    assert conditions["Established"] == "True"
    deleted = kube_api.ask("DELETE", path)
    assert deleted.body["metadata"]["deletionTimestamp"]
    until_status(kube_api, path, 404, {200})
    until_status(kube_api, things(definition), 404, {200, 429})


def test_custom_resources_need_their_kind_and_version(kube_api: Api, definition: Json) -> None:
    """A create without kind is a bad request; a PUT without resourceVersion is invalid."""
    kube_api.create(definition)
    assert kube_api.ask("POST", things(definition), {"metadata": {"name": "a"}}).status == 400
    kube_api.ask("POST", things(definition), thing(definition, "a"))
    answer = kube_api.ask("PUT", f"{things(definition)}/a", thing(definition, "a", size=4))
    assert (answer.status, answer.fields) == (422, ["metadata.resourceVersion"])


def test_a_definition_with_a_broken_rule_is_refused(kube_api: Api, definition: Json) -> None:
    """A definition with a rule that can't be compiled is refused."""
    broken = copy.deepcopy(definition)
    schema = broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["x-kubernetes-validations"] = [{"rule": "self.colour == 'red'"}]
    answer = kube_api.ask("POST", DEFINITIONS, broken)
    assert answer.status == 422
    assert answer.fields[0].endswith(".x-kubernetes-validations[0].rule")
    wrong = {**definition, "metadata": {"name": f"others.{definition['spec']['group']}"}}
    assert kube_api.ask("POST", DEFINITIONS, wrong).fields == ["metadata.name"]
