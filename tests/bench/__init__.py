"""`python -m tests.bench`: what cloudroute costs, measured now, beside what it may cost and what others need.

    counts.py    calls: first sync, idle, past the limit            fake clock
    burst.py     300 nodes at once under AWS's token buckets        fake clock
    plans.py     one plan of 5,000 nodes and 10 tables              values only
    reaction.py  Node created to first CreateRoute                  real processes
    memory.py    5,000 Nodes of 10 KB: RSS, and CPU of the list     real process
    replicas.py  300 nodes at rest: CPU, then takeovers             real processes
    report.py    docs/performance.md and its pictures, from the data beside it

Stages, rows and the page's writer are those of tests.measure.
Counts and virtual time are exact; real time depends on the machine, which the header names.
"""
