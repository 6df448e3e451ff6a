"""`python -m anychan`, as `torchrun -m anychan` starts it."""

import sys

from anychan.cli import main

if __name__ == "__main__":
    sys.exit(main())
