output "nodes" {
  description = "The single instances by name: instance_id, provider_id (as Kubernetes writes it), zone, subnet_id, interface_id, and addresses, IPv4 first. Empty with an Auto Scaling group."
  value = {
    for name, instance in aws_instance.this : name => {
      instance_id  = instance.id
      provider_id  = "aws:///${instance.availability_zone}/${instance.id}"
      zone         = instance.availability_zone
      subnet_id    = instance.subnet_id
      interface_id = instance.primary_network_interface_id
      addresses    = concat([instance.private_ip], instance.ipv6_addresses)
    }
  }
}

output "autoscaling_group_name" {
  description = "The Auto Scaling group, else null."
  value       = one(aws_autoscaling_group.this[*].name)
}
