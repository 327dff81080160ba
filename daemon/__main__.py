"""Lets `python -m daemon` do what `longwatch` does."""

import sys

from daemon.cli import main

sys.exit(main())
