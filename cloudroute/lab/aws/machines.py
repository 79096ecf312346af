"""Life cycle of an instance: launched, stopped, started, terminated, no longer described an hour later.

moto changes states at once, keeps the primary ENI of a terminated instance, and launches `MinCount`. Here a transition
takes `transition_seconds`, the ENIs made at launch are deleted with the instance, and routes follow. Sources:
API_RunInstances, API_StopInstances, API_TerminateInstances, "Amazon EC2 instance state changes", "Elastic network
interfaces" (delete on termination), API_ModifyInstanceAttribute, API_ModifyInstanceMetadataOptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cloudroute.lab.aws import interfaces
from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import Answer, Handler, World, not_found

VISIBLE_SECONDS = 3600
"""Seconds for which a terminated instance is still described."""

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def run_instances(world: World, request: Request) -> Answer:
    """Launch `MaxCount` instances."""
    interfaces.check_free(world, request)
    request.stop_if_dry()
    reservation = world.backend.launch(request, {"MinCount": request.get("MaxCount") or "1"})
    _share_profile(world, reservation.instances)
    for instance in reservation.instances:
        world.machines[instance.id] = (instance, reservation)
        instance.launch_time = datetime.fromtimestamp(world.clock.now(), UTC)
        instance.nics = dict(sorted(instance.nics.items()))
        interfaces.made_at_launch(world, request, instance)
        _set_state(instance, "pending")
        _record(world, instance)
    launched = [world.chosen("Instance", [instance.id])[instance.id] for instance in reservation.instances]
    pending = {"code": 0, "name": "pending"}
    answer = {
        "reservationId": reservation.id,
        "ownerId": reservation.owner_id,
        "groupSet": [],
        "instancesSet": [{**view.fields, "instanceState": pending} for view in launched],
    }
    world.refresh_subnets()
    _move_on(world, reservation.instances, "running")
    return answer


def _share_profile(world: World, instances: list[Any]) -> None:
    """Give all instances the instance profile of the first: moto sets it on that one only."""
    given = world.ec2.iam_instance_profile_associations.get(instances[0].id)
    for instance in instances[1:] if given else ():
        world.ec2.associate_iam_instance_profile(instance.id, given.iam_instance_profile.name)


def start_instances(world: World, request: Request) -> Mapping[str, Any]:
    """Start stopped instances; a running one stays as it is."""
    return _change(world, request, "pending", "running", refused=("terminated", "shutting-down", "stopping"))


def stop_instances(world: World, request: Request) -> Mapping[str, Any]:
    """Stop running instances; a stopped one stays as it is."""
    return _change(world, request, "stopping", "stopped", refused=("terminated", "shutting-down"))


def terminate_instances(world: World, request: Request) -> Mapping[str, Any]:
    """Terminate instances; a terminated one stays as it is."""
    for instance in _named(world, request):
        if instance.disable_api_termination is True:
            message = f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' first."
            raise AwsError("OperationNotPermitted", message)
    return _change(world, request, "shutting-down", "terminated", refused=())


def modify_instance_attribute(world: World, request: Request) -> Answer:
    """Change an attribute. SourceDestCheck is the ENI's and fails with several ENIs; moto handles all others."""
    instance = world.machine(request.required("InstanceId"))
    value = request.get("SourceDestCheck.Value") or (
        request.get("Value") if request.get("Attribute") == "sourceDestCheck" else ""
    )
    if not value:
        request.stop_if_dry()
        response = world.backend.dispatch(request)
        _record(world, instance)
        return response
    if len(instance.nics) != 1:
        message = f"There are multiple interfaces attached to instance '{instance.id}'."
        raise AwsError("InvalidInstanceID", f"{message} Please specify an interface ID for the operation instead.")
    request.stop_if_dry()
    interfaces.set_source_dest_check(world, instance.nics[0], value)
    return {"return": True}


def describe_instance_attribute(world: World, request: Request) -> Answer:
    """Describe an attribute. sourceDestCheck is that of the primary ENI; moto handles all others."""
    instance = world.machine(request.required("InstanceId"))
    if request.get("Attribute") != "sourceDestCheck":
        return world.backend.dispatch(request)
    checked = instance.nics[0].source_dest_check if 0 in instance.nics else None
    return {"instanceId": instance.id, "sourceDestCheck": {"value": checked}}


def modify_metadata_options(world: World, request: Request) -> Answer:
    """Change options of the metadata service. Omitted ones keep their value, which moto would reset."""
    instance = world.machine(request.required("InstanceId"))
    request.stop_if_dry()
    options = instance.metadata_options
    shown = {
        "HttpTokens": options.http_tokens,
        "HttpPutResponseHopLimit": str(options.http_put_response_hop_limit),
        "HttpEndpoint": options.http_endpoint,
        "HttpProtocolIpv6": options.http_protocol_ipv6,
        "InstanceMetadataTags": options.instance_metadata_tags,
    }
    response = world.backend.dispatch(request, {name: request.get(name) or value for name, value in shown.items()})
    _record(world, instance)
    return response


# --- states -------------------------------------------------------------------------------------


def _named(world: World, request: Request) -> list[Any]:
    ids = request.listed("InstanceId")
    if not ids:
        raise AwsError("MissingParameter", "The request must contain the parameter InstanceId")
    unknown = [id_ for id_ in ids if id_ not in world.machines]
    if unknown:
        raise not_found("Instance", *unknown)
    return [world.machine(id_) for id_ in ids]


def _change(world: World, request: Request, passing: str, final: str, refused: tuple[str, ...]) -> Mapping[str, Any]:
    instances = _named(world, request)
    for instance in instances:
        if instance.state in refused:
            verb = "started" if final == "running" else "stopped"
            message = f"The instance '{instance.id}' is not in a state from which it can be {verb}."
            raise AwsError("IncorrectInstanceState", message)
    request.stop_if_dry()
    before = {instance.id: (instance.state_code, instance.state) for instance in instances}
    moved = [instance for instance in instances if instance.state not in (passing, final)]
    for instance in moved:
        _set_state(instance, passing)
        _record(world, instance)
    answer = [
        {
            "instanceId": instance.id,
            "currentState": {"code": instance.state_code, "name": instance.state},
            "previousState": {"code": before[instance.id][0], "name": before[instance.id][1]},
        }
        for instance in instances
    ]
    _move_on(world, moved, final)
    return {"instancesSet": answer}


def _move_on(world: World, instances: list[Any], state: str) -> None:
    """Reach the state in `transition_seconds`, unless another call has changed the target state by then."""
    for instance in instances:
        world.later(world.transition_seconds, partial(_arrive, world, instance, instance.state, state))


def _arrive(world: World, instance: Any, passing: str, final: str) -> None:
    if instance.state != passing:
        return
    if final == "terminated":
        _terminate(world, instance)
    elif final == "stopped":
        instance.stop()
    else:
        instance.start()
    _record(world, instance)


def _terminate(world: World, instance: Any) -> None:
    enis = list(instance.nics.values())
    for eni in enis:
        if eni.delete_on_termination:
            interfaces.delete(world, eni)
        else:
            instance.detach_eni(eni)
            eni.delete_on_termination = False
    instance.nics = {}
    # moto would release these a second time, from their next owner, when the object is garbage-collected.
    instance._private_ips.clear()
    instance.terminate()
    for eni in enis:
        world.refresh_interface(eni.id)
    world.refresh_subnets()
    world.refresh_tables(_vpc_of(enis))
    world.later(VISIBLE_SECONDS, partial(_forget, world, instance))


def _forget(world: World, instance: Any) -> None:
    _, reservation = world.machines.pop(instance.id)
    reservation.instances.remove(instance)
    if not reservation.instances:
        world.ec2.reservations.pop(reservation.id, None)
    world.refresh_instance(instance.id)


def _vpc_of(enis: list[Any]) -> str | None:
    return enis[0].subnet.vpc_id if enis else None


def _set_state(instance: Any, name: str) -> None:
    instance._state.name = name
    instance._state.code = _CODES[name]


def _record(world: World, instance: Any) -> None:
    """Record the new views of the instance, its ENIs, and the routes that lead to it."""
    world.refresh_instance(instance.id)
    for eni in instance.nics.values():
        world.refresh_interface(eni.id)
    if instance.nics:
        world.refresh_tables(_vpc_of(list(instance.nics.values())))


ACTIONS: Mapping[str, Handler] = {
    "RunInstances": run_instances,
    "StartInstances": start_instances,
    "StopInstances": stop_instances,
    "TerminateInstances": terminate_instances,
    "ModifyInstanceAttribute": modify_instance_attribute,
    "DescribeInstanceAttribute": describe_instance_attribute,
    "ModifyInstanceMetadataOptions": modify_metadata_options,
}
