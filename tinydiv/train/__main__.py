"""python -m tinydiv.train"""

import sys

from tinydiv.train.command import main

if __name__ == "__main__":
    sys.exit(main())
