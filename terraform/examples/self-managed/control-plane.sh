#!/bin/bash
# The first start of the control plane node: kubeadm init. The image has containerd, kubeadm and kubelet.
set -euo pipefail

# Who this is, by the instance metadata service. cloudroute finds a node's instance by its provider id; with a cloud
# controller manager in the cluster, that sets it too.
metadata=http://169.254.169.254/latest
session=$(curl -fsS -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 300" $metadata/api/token)
fact() { curl -fsS -H "X-aws-ec2-metadata-token: $session" "$metadata/meta-data/$1"; }
provider_id=aws:///$(fact placement/availability-zone)/$(fact instance-id)
node_ip=$(fact local-ipv4)
%{ if dual_stack ~}
node_ip=$node_ip,$(fact ipv6)
%{ endif ~}

cat > /etc/kubernetes/kubeadm.yaml <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
  - token: ${token}
    ttl: 0s # the Auto Scaling group joins workers at any time
nodeRegistration:
  name: $(hostname -f)
  kubeletExtraArgs:
    - { name: node-ip, value: "$node_ip" }
    - { name: provider-id, value: "$provider_id" }
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: ${cluster}
networking:
  podSubnet: "${pod_cidrs}"
  serviceSubnet: "${service_cidrs}"
controllerManager:
  extraArgs:
    - { name: allocate-node-cidrs, value: "false" } # cloudroute gives nodes their pod CIDRs
EOF
kubeadm init --config /etc/kubernetes/kubeadm.yaml
