"""`python -m diffworld`: the same as the command `diffworld`."""

import sys

from diffworld.cli import main

sys.exit(main())
