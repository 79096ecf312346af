"""One module per command: its help text, the settings it takes, and `run`, which runs what `wiring` puts together.

Imports at the top of these modules are cheap. boto3, kubernetes and rich, which take tenths of seconds and tens of
megabytes, are imported inside `run`, so that `--help` answers at once and no command pays for another's.
"""
