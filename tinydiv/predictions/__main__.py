"""python -m tinydiv.predictions"""

import sys

from tinydiv.predictions.command import main

if __name__ == "__main__":
    sys.exit(main())
