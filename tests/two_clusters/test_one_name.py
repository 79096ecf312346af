"""Two clusters of one name that share a route table: the second is refused before it writes; running ones go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cloudroute.errors import UsageError
from tests.controller.ends import all_native
from tests.controller.lab import NATIVE, POOL6, Lab, lab
from tests.controller.servers import servers
from tests.two_clusters.pair import Pair, pair

TAG = "kubernetes.io/cluster/test"


def tag(cluster: Lab, *names: str, key: str = TAG) -> None:
    """Tag the instances of these Nodes for a cluster, as the cloud provider requires."""
    ids = [cluster.instance(name) for name in names]
    cluster.aws.scene.ec2.create_tags(Resources=ids, Tags=[{"Key": key, "Value": "owned"}])


def lose(cluster: Lab) -> None:
    """The CRDs are deleted, and every NodeRoute and RouteTable with them."""
    cluster.stop()
    for plural in ("noderoutes", "routetables"):
        for item in cluster.kube.list(plural):
            cluster.kube.delete(plural, item["metadata"]["name"])


def said(cluster: Lab) -> str:
    """The message with which the controller ends."""
    with pytest.raises(UsageError) as refused:
        cluster.turn()
    return " ".join(refused.value.problems)


def first_with_nodes(both: Pair, count: int = 3) -> list[str]:
    """Run cluster one with nodes; returns their names."""
    names = [both.one.join(0) for _ in range(count)]
    tag(both.one, *names)
    both.one.run()
    both.one.calls(), both.two.writes()
    return names


@pytest.mark.parametrize("tagged", [True, False], ids=["tables-by-tag", "tables-by-nodes"])
@pytest.mark.parametrize("begin", ["nodes before the controller", "the controller before nodes"])
def test_the_second_is_refused_before_it_writes(*, tagged: bool, begin: str) -> None:
    """The message names table, route, instance, tag and remedy; EC2 and Kubernetes are unchanged."""
    with pair({"cluster_cidr": ("100.64.0.0/16", POOL6)}, {}, zones=1, ipv6=True, tagged=tagged) as both:
        names = first_with_nodes(both)
        before = both.one.routes(both.one.table())
        if begin == "the controller before nodes":
            both.two.start(vpc_id=both.two.vpc.id)
            both.two.run()
        both.two.join(0)
        for _ in range(2):  # at each start
            both.two.start()
            words = said(both.two)
            assert all(part in words for part in (both.one.table(), both.one.instance(names[0]), "(and 2 more)", TAG))
            assert "another cluster of this name uses the table. Give this one a --cluster-name" in words
        assert both.two.changes() == {}
        assert {resource for _, resource in both.two.writes()} <= {"routetables", "routetables/status"}
        assert both.one.routes(both.one.table()) == before
        both.one.run()
        assert set(both.one.conditions().values()) == {NATIVE}


def test_the_second_begins_when_the_first_is_gone() -> None:
    """After the first cluster's nodes are terminated, the second removes their blackholes and serves its own nodes."""
    with pair({}, {}, zones=1) as both:
        names = first_with_nodes(both)
        both.one.stop()
        second = both.two.join(0)
        assert said(both.two)
        both.one.aws.scene.terminate(*map(both.one.instance, names))
        both.two.start()
        both.two.run()
        all_native(both.two, [second])


def another_name(both: Pair, names: list[str]) -> None:
    """Tag the first cluster for another name that contains ours."""
    both.one.aws.scene.ec2.delete_tags(Resources=list(map(both.one.instance, names)), Tags=[{"Key": TAG}])
    tag(both.one, *names, key=f"{TAG}-2")


def untagged(both: Pair, names: list[str]) -> None:
    """Leave the first cluster's instances without tags."""
    both.one.aws.scene.ec2.delete_tags(Resources=list(map(both.one.instance, names)), Tags=[{"Key": TAG}])


def another_pool(both: Pair, _: list[str]) -> None:
    """Give the second cluster another pool."""
    both.two.start(cluster_cidr=("100.65.0.0/16",))


@pytest.mark.parametrize("difference", [another_name, untagged, another_pool])
def test_clusters_that_differ_are_not_refused(difference: Callable[[Pair, list[str]], None]) -> None:
    """Two clusters that differ in name, tag or pool both work in one table."""
    with pair({}, {}, zones=1) as both:
        names = first_with_nodes(both)
        difference(both, names)
        both.two.join(0)
        both.run()
        assert set(both.one.conditions().values()) == set(both.two.conditions().values()) == {NATIVE}
        assert len(both.one.routes(both.one.table())) == len(names) + 1
        assert both.ledger.trespasses == []


def test_running_clusters_go_on_and_report_each_other() -> None:
    """Two clusters that run already go on, restarts included, and an Event on each table reports the other."""
    with pair({}, {"cluster_cidr": ("100.65.0.0/16",)}, zones=1) as both:
        first_with_nodes(both)
        name = both.two.join(0)
        tag(both.two, name)
        both.run()
        for cluster in (both.one, both.two):
            cluster.start(cluster_cidr=("100.64.0.0/15",))
        both.run()
        both.resync()
        assert set(both.one.conditions().values()) == set(both.two.conditions().values()) == {NATIVE}
        for cluster in (both.one, both.two):
            ((kind, about, _, note),) = cluster.events("SameClusterName")
            assert (kind, about) == ("Warning", cluster.table())
            assert TAG in note
        assert both.ledger.trespasses == []


def test_a_reinstall_is_not_refused_for_nodes_that_are_not_there_yet() -> None:
    """After the loss of all NodeRoutes, routes of present Nodes are adopted, others once their Node is back.

    EC2 is asked to write nothing.
    """
    with lab(zones=1) as world:
        names = world.join_many(3)
        tag(world, *names)
        world.run()
        late = world.kube.get("nodes", names[0])
        lose(world)
        world.kube.delete("nodes", names[0])
        before = world.routes(world.table())
        world.calls()
        world.start()
        world.run()
        assert world.changes() == {}
        again = {key: value for key, value in late.items() if key != "status"}
        again["metadata"] = {"name": names[0]}
        world.kube.create({**again, "status": {"addresses": late["status"]["addresses"]}})
        world.run()
        assert world.changes() == {}
        all_native(world, names)
        assert world.routes(world.table()) == before


def test_a_reinstall_whose_first_node_is_new_begins_with_the_first_old_one() -> None:
    """With all NodeRoutes lost and only a new Node present, the start is refused until a Node with a route is back."""
    with lab(zones=1) as world:
        old = world.join(0)
        tag(world, old)
        world.run()
        kept = world.kube.get("nodes", old)
        lose(world)
        world.kube.delete("nodes", old)
        new = world.join(0)
        tag(world, new)
        world.start()
        assert said(world)
        metadata = {"name": old}
        world.kube.create({**kept, "metadata": metadata, "status": {"addresses": kept["status"]["addresses"]}})
        world.start()
        world.run()
        all_native(world, [old, new])


def test_a_stopped_instance_counts_as_a_foreign_node() -> None:
    """A blackhole to a stopped instance of another cluster is kept, and the second cluster refused."""
    with pair({}, {}, zones=1) as both:
        (name,) = first_with_nodes(both, 1)
        both.one.aws.scene.stop(both.one.instance(name))
        before = both.one.routes(both.one.table())
        both.two.join(0)
        assert both.one.instance(name) in said(both.two)
        assert both.one.routes(both.one.table()) == before


def test_a_controller_that_waits_for_its_first_node_sees_whose_routes_are_in_the_table_that_it_brings() -> None:
    """All tables were read before; which of them the cluster uses is known with the node."""
    with pair({}, {}, zones=1) as both:
        (name,) = first_with_nodes(both, 1)
        both.two.start(vpc_id=both.two.vpc.id)
        both.two.run()
        both.two.join(0)
        assert both.one.instance(name) in said(both.two)
        assert both.two.changes() == {}


def test_cleanup_of_the_second_is_not_refused() -> None:
    """Cleanup of the second cluster owns nothing, so it ends without a change."""
    with pair({}, {}, zones=1) as both:
        first_with_nodes(both)
        before = both.one.routes(both.one.table())
        both.two.join(0)
        both.two.start(leave=True)
        both.two.run()
        assert both.one.routes(both.one.table()) == before


def test_owners_are_asked_for_once_a_resync() -> None:
    """Foreign routes in the cluster's pool cost one more DescribeInstances per resync; without them there is none."""
    with pair({"cluster_name": "one"}, {"cluster_name": "two"}, zones=1, one_table=True) as both:
        names = [both.two.join(0), both.two.join(0)]
        both.two.run()
        both.one.join(0)
        both.one.run()
        both.two.stop()
        both.one.calls()
        both.one.pass_seconds(10 * 60)
        assert both.one.calls() == {"DescribeInstances": 20, "DescribeRouteTables": 10}
        both.one.aws.scene.terminate(*map(both.two.instance, names))
        both.one.pass_seconds(120)
        both.one.calls()
        both.one.pass_seconds(10 * 60)
        assert both.one.calls() == {"DescribeInstances": 10, "DescribeRouteTables": 10}


# --- real processes -------------------------------------------------------------------------------


def test_the_process_ends_with_2_and_plan_says_the_same(tmp_path: Path) -> None:
    """The process exits with 2 and one sentence on stderr, and releases the Lease; `plan` prints the same."""
    with servers(tmp_path) as world:
        (theirs,) = world.aws.scene.launch(world.vpc.zones[0])
        world.aws.scene.ec2.create_tags(Resources=[theirs.id], Tags=[{"Key": TAG, "Value": "owned"}])
        table = world.vpc.route_table_ids[0]
        route = {"DestinationCidrBlock": "100.64.7.0/24", "NetworkInterfaceId": theirs.interface_id}
        world.aws.scene.ec2.create_route(RouteTableId=table, **route)
        world.join("second")
        leader = world.start()
        assert leader.exit_code(20) == 2
        (sentence,) = (line for line in leader.log.read_text().splitlines() if line.startswith("cloudroute: "))
        assert (
            f"{table}: the route 100.64.7.0/24 leads to {theirs.id}, which is tagged {TAG} and is no Node" in sentence
        )
        assert world.lease["holderIdentity"] in ("", None)
        planned = world.command("plan")
        assert (planned.returncode, planned.stderr.splitlines()[-1]) == (2, sentence)
        assert {action for action, _ in world.aws.calls if not action.startswith("Describe")} == set()
        assert world.kube.list("noderoutes") == []
