"""`python -m cloudroute` is `cloudroute`."""

import sys

from cloudroute.cli import main

if __name__ == "__main__":
    sys.exit(main())
