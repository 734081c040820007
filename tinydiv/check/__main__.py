"""python -m tinydiv.check"""

import sys

from tinydiv.check.command import main

if __name__ == "__main__":
    sys.exit(main())
