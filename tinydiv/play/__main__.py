"""python -m tinydiv.play"""

import sys

from tinydiv.play.command import main

if __name__ == "__main__":
    sys.exit(main())
