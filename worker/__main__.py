"""`python -m worker`: one worker process."""

import sys

from services.errors import Misconfigured
from services.settings import load
from worker.main import main

if __name__ == "__main__":
    try:
        main(load())
    except Misconfigured as error:
        sys.exit(error.sentence)
