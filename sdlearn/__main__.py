"""`python -m sdlearn`: the same as the command `sdlearn`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
