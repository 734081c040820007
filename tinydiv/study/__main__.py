"""python -m tinydiv.study"""

import sys

from tinydiv.study.command import main

if __name__ == "__main__":
    sys.exit(main())
