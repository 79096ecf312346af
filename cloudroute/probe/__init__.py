"""The program inside `cloudroute verify`'s pods and in the agents' containers: it answers packets, and sends them.

    serve   echo by UDP and TCP: tells each sender the address and TTL that arrived; works as a single copied file
    ask     questions of one line of stdin, answered in parallel, a line of JSON for each answer
     ├── echo     udp, tcp, connect: to a `serve`, or to any TCP port
     ├── stream   stream: numbered packets to a `serve`
     ├── web      http, https
     ├── dns      dns
     ├── own      self: addresses, MTUs, gateways and resolv.conf of this pod
     └── state    state: the tables of this node's kernel, by cloudroute.adapters

`sockets` connects, `failure` maps errors to the codes of answers. All but `state` and `count` use the standard library
alone, and `ask` imports the module of a kind when it is first asked: a pod starts fast and needs 32 MB.
"""
