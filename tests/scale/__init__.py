"""`python -m tests.scale`: how what cloudroute costs grows with the cluster, from 100 to 20,000 nodes.

    light_ec2.py      EC2 for tens of thousands of instances: a few dicts behind boto3's methods
    light_cluster.py  Kubernetes likewise: the real stores, fed without HTTP; writes and watch bytes are counted
    agents.py         what the agents say of themselves, and when
    light_lab.py      the real loop on both, in virtual time
    joins.py          all nodes at once, then at rest, then one more
    days.py           a rolling replacement; an hour without EC2
    curves.py         sizes, exponents, and what is judged of them
    report.py         its parts of docs/performance.md

The loop, the planner, the EC2 client with its budget and memory, and the stores are the product's own. EC2
and Kubernetes behind them are light: moto takes minutes where these take seconds. `test_scale.py` runs them beside the
strict layer and the embedded API: the same calls, writes, seconds, bytes and final state.
"""
