"""`python -m reaper`: one reaper process, with its own beat."""

import sys

from reaper.main import main
from services.errors import Misconfigured
from services.settings import load

if __name__ == "__main__":
    try:
        main(load())
    except Misconfigured as error:
        sys.exit(error.sentence)
