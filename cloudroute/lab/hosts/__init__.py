"""Hosts as network namespaces, connected by a VPC that forwards packets as EC2's state says.

    netns                             namespaces
    picture, program, router, vpc     EC2's state, as kernel commands, applied to the router's namespace, continuously
    resolver                          the VPC's DNS server
    host, cni                         hosts, their agents and pods; the real plugins
    api, relay                        the API server, and access to it from every host
    nodes                             the writes of kubelets and the cloud controller
    control, processes                the controllers, as processes that can be found after a crash
    ground, lab, teardown             a whole lab, and its removal
    kubelet, images, image_store, workload   real nodes, and the pods on them
    cluster                           a lab of real nodes
    traffic                           counted packets
    daemon, channel, breaks, survey   a lab that stays up between commands

Needs root, iproute2, nftables and the CNI plugins. Import the modules themselves: this package stays empty, so that a
command that only queries a lab does not load EC2.
"""
