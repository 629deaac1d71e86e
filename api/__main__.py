"""`python -m api`: one api process."""

import sys

from api.main import main
from services.errors import Misconfigured
from services.settings import load

if __name__ == "__main__":
    try:
        main(load())
    except Misconfigured as error:
        sys.exit(error.sentence)
