"""python -m tinydiv.gallery"""

import sys

from tinydiv.gallery.command import main

if __name__ == "__main__":
    sys.exit(main())
