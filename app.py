"""Start the NeuroVis app: ``python app.py [--host HOST] [--port PORT] [--home DIR]``."""

import sys

from neurovis.server import main

if __name__ == "__main__":
    sys.exit(main())
