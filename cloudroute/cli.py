"""The composition root: flags, settings, adapters, loops."""

import sys


def main() -> int:
    """Run the command line; the return value is the exit code."""
    sys.stderr.write("cloudroute: no command yet\n")
    return 2
