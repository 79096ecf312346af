"""Network interfaces and instances as EC2 shows them: see `views`.

Sources: API_NetworkInterface, API_Instance, API_InstanceNetworkInterface.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cloudroute.lab.aws.views import View, outpost_arn, present, tags


def _time(value: Any) -> str | None:
    return f"{value:%Y-%m-%dT%H:%M:%S}.000Z" if isinstance(value, datetime) else value


def _groups(groups: Iterable[Any]) -> list[dict[str, str]]:
    return sorted(({"groupId": group.id, "groupName": group.name} for group in groups), key=lambda g: g["groupId"])


# --- network interfaces -------------------------------------------------------------------------


def interface_view(ec2: Any, eni: Any) -> View:
    """Render a network interface as DescribeNetworkInterfaces shows it."""
    shared = _interface_fields(eni)
    instance = eni.instance
    attachment = None
    if instance:
        attachment = {**_attachment(eni), "instanceId": instance.id, "instanceOwnerId": instance.owner_id}
    return View(
        present(
            {
                **shared,
                "availabilityZone": eni.subnet.availability_zone,
                "attachment": attachment,
                "requesterManaged": False,
                "tagSet": tags(ec2, eni.id),
            }
        )
    )


def _interface_fields(eni: Any) -> dict[str, Any]:
    """Return the fields of an ENI that both describe actions show."""
    association = {k: v for k, v in eni.association.items() if v is not None and k != "natEnabled"} or None
    dns_name = getattr(eni, "private_dns_name", None)
    addresses = [
        present(
            {
                "privateIpAddress": address["PrivateIpAddress"],
                "privateDnsName": address.get("PrivateDnsName"),
                "primary": address["PrivateIpAddress"] == eni.private_ip_address,
                "association": association if address["PrivateIpAddress"] == eni.private_ip_address else None,
            }
        )
        for address in eni.private_ip_addresses
    ]
    return {
        "networkInterfaceId": eni.id,
        "subnetId": eni.subnet.id,
        "vpcId": eni.subnet.vpc_id,
        "description": eni.description,
        "ownerId": eni.owner_id,
        "status": eni.status,
        "macAddress": eni.mac_address,
        "privateIpAddress": eni.private_ip_address,
        "privateDnsName": dns_name,
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": _groups(eni.group_set),
        "association": association,
        "privateIpAddressesSet": addresses,
        "ipv6AddressesSet": [{"ipv6Address": address} for address in eni.ipv6_addresses],
        "interfaceType": eni.interface_type,
    }


def _attachment(eni: Any) -> dict[str, Any]:
    return {
        "attachmentId": eni.attachment_id,
        "deviceIndex": eni.device_index,
        "networkCardIndex": 0,
        "status": "attached",
        "attachTime": _time(eni.attach_time),
        "deleteOnTermination": bool(eni.delete_on_termination),
    }


# --- instances ----------------------------------------------------------------------------------


def instance_view(ec2: Any, instance: Any, reservation: Any) -> View:
    """Render an instance. A terminated one has no interface, address or subnet any more."""
    enis = sorted(instance.nics.values(), key=lambda eni: eni.device_index)
    primary = enis[0] if enis and instance.state != "terminated" else None
    association = ec2.iam_instance_profile_associations.get(instance.id)  # moto's instance holds the association's id
    profile = association.iam_instance_profile if association else None
    fields = {
        "instanceId": instance.id,
        "imageId": instance.image_id,
        "instanceState": {"code": instance.state_code, "name": instance.state},
        "privateDnsName": _private_dns_name(ec2, instance, primary) if primary else "",
        "dnsName": (primary and instance.public_dns_name) or "",
        "reason": instance._reason,
        "keyName": instance.key_name,
        "amiLaunchIndex": instance.ami_launch_index,
        "productCodes": [],
        "instanceType": instance.instance_type,
        "launchTime": _time(instance.launch_time),
        "placement": {"availabilityZone": instance.availability_zone, "groupName": "", "tenancy": "default"},
        "monitoring": {"state": instance.monitoring_state},
        "subnetId": primary and primary.subnet.id,
        "vpcId": primary and primary.subnet.vpc_id,
        "privateIpAddress": primary and primary.private_ip_address,
        "ipAddress": primary and primary.public_ip,
        "ipv6Address": primary.ipv6_addresses[0] if primary and primary.ipv6_addresses else None,
        "outpostArn": primary and outpost_arn(primary.subnet),
        "sourceDestCheck": primary and primary.source_dest_check,
        "groupSet": _groups(primary.group_set) if primary else [],
        "networkInterfaceSet": [{**_interface_fields(eni), "attachment": _attachment(eni)} for eni in enis],
        "tagSet": tags(ec2, instance.id),
        "iamInstanceProfile": {"arn": profile.arn, "id": profile.id} if profile else None,
        **_machine_fields(instance),
    }
    hidden = {"reservationId": reservation.id, "ownerId": reservation.owner_id}
    return View(present(fields), hidden)


def _private_dns_name(ec2: Any, instance: Any, primary: Any) -> str:
    """Return the private DNS name: by address; by id in an IPv6-only subnet ("Amazon EC2 instance hostname types")."""
    if primary.private_ip_address:
        return str(instance.private_dns_name)
    return f"{instance.id}.{ec2.region_name}.compute.internal"


def _machine_fields(instance: Any) -> dict[str, Any]:
    """Return virtual hardware fields. The lab neither changes nor reads them, but Terraform reads them."""
    options = instance.metadata_options
    reason = instance.state_reason
    return {
        "architecture": instance.architecture,
        "rootDeviceType": instance.root_device_type,
        "rootDeviceName": instance.root_device_name,
        "blockDeviceMapping": [
            {
                "deviceName": device,
                "ebs": {
                    "volumeId": block.volume_id,
                    "status": instance.get_block_device_status(block.status),
                    "attachTime": _time(block.attach_time),
                    "deleteOnTermination": bool(block.delete_on_termination),
                },
            }
            for device, block in instance.get_block_device_mapping
        ],
        "virtualizationType": "hvm",
        "clientToken": instance.client_token,
        "hypervisor": instance.hypervisor,
        "ebsOptimized": bool(instance.ebs_optimized),
        "instanceLifecycle": instance.lifecycle,
        "stateReason": {"code": reason.code, "message": reason.message} if reason.code else None,
        "metadataOptions": {
            "state": options.state,
            "httpTokens": options.http_tokens,
            "httpPutResponseHopLimit": options.http_put_response_hop_limit,
            "httpEndpoint": options.http_endpoint,
            "httpProtocolIpv6": options.http_protocol_ipv6,
            "instanceMetadataTags": options.instance_metadata_tags,
        },
    }
