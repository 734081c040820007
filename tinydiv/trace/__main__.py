"""python -m tinydiv.trace"""

import sys

from tinydiv.trace.command import main

if __name__ == "__main__":
    sys.exit(main())
