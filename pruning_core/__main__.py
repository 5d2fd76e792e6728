"""``python -m pruning_core``: the command line."""

import sys

from pruning_core.command_line import main

if __name__ == "__main__":
    sys.exit(main())
