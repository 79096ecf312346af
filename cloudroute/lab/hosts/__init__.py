"""Hosts as network namespaces, and between them a VPC that does with packets what EC2 says.

    netns                             namespaces
    picture, program, router, vpc     what EC2 says, in the kernel's words, into the router's kernel, for ever
    resolver                          the VPC's DNS server
    host, cni                         hosts, their agents and pods; the real plugins
    api, relay                        the API server, and a way to it from every host
    nodes                             what kubelets and the cloud controller would write
    control, processes                the controllers, as processes that are found again
    ground, lab, teardown             all of it, and its end
    kubelet, images, workload         real nodes, and what runs on them
    cluster                           a lab of those
    traffic                           packets that are counted
    daemon, channel, breaks, survey   a lab that lives on between commands

Needs root, iproute2, nftables and the CNI plugins. Import the modules themselves: this package stays empty, so that
a command that only asks a lab does not load EC2.
"""
