"""One module per command: its teaching text, the settings it takes, and `run`, which joins adapters to loops.

A module here imports at its top only what costs nothing. boto3, kubernetes, moto and rich, which cost tenths of seconds
and tens of megabytes, are imported inside `run`, so that `--help` answers at once and no command pays for another's.
"""
