"""`python -m autodist.cli` is the command `autodist`."""

import sys

from autodist.cli import main

if __name__ == "__main__":
    sys.exit(main())
