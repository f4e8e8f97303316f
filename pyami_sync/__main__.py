"""``python -m pyami_sync``, for where the script ``pyami-sync`` is not on the path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
