"""`python -m local.broker`."""

import os
import sys

from local.broker.process import main

sys.exit(main(os.environ))
