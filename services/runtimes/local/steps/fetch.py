"""Step `fetch`: the pinned commit into the home, what the link asks for beside it, then the plan of what its environment needs.

Only the directory that the link names is left, and where the environment is another repository's, that is fetched too and laid
below. What comes out is one tree, and everything after this step knows no more of where it came from.
"""

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import laying, plan, records
from .checkout import Bounds, Checkout, Refused
from .said import HOME, Failure, read, report, say

LOGINS = "DOCKYARD_LOGINS"


def main() -> int:
    """Run the step; the exit status."""
    job, logins = read("job.json"), json.loads(os.environ.pop(LOGINS, "{}"))
    try:
        plan.make({**job, "tree": fetch(job, logins, Path(HOME))})
    except laying.Unfit as unfit:
        return report(Failure(str(unfit), "Check the link: names of directories tell capital letters from small ones."))
    except Failure as failure:
        return report(failure)
    return 0


def fetch(job: dict[str, Any], logins: dict[str, Any], home: Path) -> str:
    """Bring the tree that is built into `home`; an id of all that is in it. Raises `Failure` and `Unfit`."""
    bounds = Bounds(home, job["repository_bytes"], job["fetch_timeout"], logins, job["patience"])
    tree = _brought(bounds, home, job)
    if job["subdir"]:
        inner = ""
        if not job["files"]:
            with suppress(Refused):  # in a submodule
                inner = Checkout(bounds, home, job).git("rev-parse", "--verify", "-q", f"{job['commit']}:{job['subdir']}").strip()
        laying.narrow(home, job["subdir"])
        say("fetching", f"Only {job['subdir']} of it is built.")
        tree = inner or _joined(tree, job["subdir"])
    if job["environment"] is None:
        return tree
    aside = home / f".{uuid.uuid4().hex}"
    aside.mkdir()
    environment = _named("environment repository", bounds, aside, job["environment"])
    if left := laying.lay(home, aside):
        say("fetching", laying.told(left))
    return _joined(tree, environment)


def _brought(bounds: Bounds, into: Path, source: dict[str, Any]) -> str:
    """Fetch a commit, or download the files of a record; an id of what there is."""
    if not source["files"]:
        return Checkout(bounds, into, source).run()
    say("fetching", f"Downloading {source['repo_url']}, version {source['commit']}")
    try:
        gathering = records.Gathering(into, bounds.bytes, bounds.until, lambda text: say("fetching", text), bounds.patience)
        return gathering.all(source["files"])
    except records.Unavailable as error:
        hint = "Try again later." if error.retryable else "Ask who has published it, or the operator."
        raise Failure(str(error), hint, retryable=error.retryable) from error


def _named(what: str, bounds: Bounds, into: Path, source: dict[str, Any]) -> str:
    try:
        return _brought(bounds, into, source)
    except Failure as failure:
        raise Failure(f"The {what}: {failure.reason}", failure.hint, retryable=failure.retryable) from failure


def _joined(*parts: str) -> str:
    """One id for several."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
