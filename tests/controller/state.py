"""The state of nodes in EC2 and in Kubernetes, for tests that compare."""

from __future__ import annotations

from tests.controller.lab import Lab


def checks_of(world: Lab, instance_id: str) -> list[bool]:
    """The source/dest checks of an instance's interfaces."""
    described = world.aws.scene.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    enis = sorted(described["NetworkInterfaces"], key=lambda eni: eni["Attachment"]["DeviceIndex"])
    return [eni["SourceDestCheck"] for eni in enis]


def state_of(world: Lab, names: list[str]) -> dict[str, object]:
    """All that is visible of nodes: CIDRs, condition, what is published, and their routes with their targets."""
    published = world.published()
    tables = {table: world.routes(table) for table in world.tables()}
    return {
        name: (
            world.pod_cidrs(name),
            world.condition(name),
            published[name].spec,
            {(table, cidr): routes.get(cidr) for table, routes in tables.items() for cidr in world.pod_cidrs(name)},
        )
        for name in names
    }


def assert_nothing_else(world: Lab, names: list[str]) -> None:
    """These nodes are published and routed in every table, each to its primary interface, and nothing else is."""
    published = world.published()
    assert sorted(published) == sorted(names)
    want = {cidr: published[name].spec.network_interface_id for name in names for cidr in world.pod_cidrs(name)}
    assert [world.routes(table) for table in world.tables()] == [want] * len(world.tables())
    for name in names:
        assert published[name].spec.network_interface_id == world.machine(name).interface_id
        assert published[name].spec.native_in == tuple(sorted(world.tables()))
        assert published[name].spec.subnet_id == world.machine(name).zone.subnet_id
