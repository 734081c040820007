"""python -m tinydiv.starts"""

import sys

from tinydiv.starts.command import main

if __name__ == "__main__":
    sys.exit(main())
