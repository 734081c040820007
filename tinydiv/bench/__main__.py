"""python -m tinydiv.bench"""

import sys

from tinydiv.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
