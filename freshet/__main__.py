"""`python -m freshet` is `freshet`."""

import sys

from freshet.cli import main

if __name__ == "__main__":
    sys.exit(main())
