"""python -m tinydiv.starts"""

import sys

from tinydiv.command.start import start

if __name__ == "__main__":
    sys.exit(start("starts"))
