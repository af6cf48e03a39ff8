"""`python -m vime_lab` is the command `vime-ref`."""

import sys

from vime_lab.command_line import main

if __name__ == "__main__":
    sys.exit(main())
