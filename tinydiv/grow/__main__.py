"""python -m tinydiv.grow"""

import sys

from tinydiv.grow.command import main

if __name__ == "__main__":
    sys.exit(main())
