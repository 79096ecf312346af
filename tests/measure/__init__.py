"""Shared by the three measurements: `make bench`, `make scale` and `make soak`.

stage    the strict EC2 layer and a Kubernetes API over loopback, controllers as processes of their own
process  CPU, memory, descriptors and threads of a process
rows     a figure beside its target, the machine it depends on, progress, the table and the JSON
page     docs/performance.md and the data beside it
plots    its pictures
"""
