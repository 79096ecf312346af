"""`make soak`: cloudroute with real parts for as long as one likes, while faults come by a seeded schedule.

schedule  which faults, on whom, for how long: by the seed alone
faults    what each one does
live_lab the lab as it runs: what is looked at all the time, and who restarts what has ended
exchange  traffic of every pod to every other, and its losses by window of time
writes    what EC2 and Kubernetes were told
samples   memory, descriptors and threads of each process
kernels   what is in each kernel, against what its agent should want, and against what was there before
losses, leaks, flapping  the judges: pure
run       one soak from beginning to end
report    what it amounts to, for people and as JSON
"""
