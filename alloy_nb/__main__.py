"""``python -m alloy_nb`` is ``alloy-nb``."""

import sys

from alloy_nb.cli import main

sys.exit(main())
