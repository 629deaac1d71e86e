"""The environments that hold Jupyter alone: made once for each version of Python, and what all others begin as."""

import time
from pathlib import Path

from services.runtimes.base import Exit
from services.runtimes.local import detached, trees
from services.runtimes.local.alone import PATIENCE, alone
from services.runtimes.local.environments import Environment
from services.runtimes.local.making import Making
from services.runtimes.local.recipe import Recipe
from services.runtimes.local.workshop import Workshop


def bare(python: str) -> Recipe:
    """The recipe of an environment that holds Jupyter alone; also that of a repository that asks for nothing."""
    return Recipe(kind="python", python=python)


def base(workshop: Workshop, python: str) -> tuple[Environment | Exit | None, Path | None]:
    """The base for a version of Python, or bring its making on: why there is none, or None while it goes on; and its log.

    Every build that needs it may call this; one at a time has an effect. Blocking.
    """
    recipe = bare(python)
    key = recipe.key(workshop.local.jupyter)
    found = workshop.environments.fresh(key)
    if found is not None:
        return found, None
    directory = workshop.paths.bases / key[:32]
    mode = 0o700 if workshop.paths.first_uid is None else 0o711
    directory.mkdir(mode=mode, exist_ok=True)
    with alone(directory) as ours:
        if not ours:
            _refused(workshop, directory)
            return None, None
        workshop.refused.clear()
        names = sorted(path.name for path in directory.iterdir() if path.name.isdigit())
        place = directory / (names[-1] if names else str(time.time_ns()))
        place.mkdir(mode=mode, exist_ok=True)
        log = place / "log"
        made = Making(
            workshop, place, recipe, workshop.interpreter(python), log, f"base-{place.name}", None, seconds=workshop.builds.timeout,
        ).look()
        return made, log


def _refused(workshop: Workshop, directory: Path) -> None:
    """Wait for whoever has the directory; one who never lets go of it is paused, and it is left to them."""
    one = (directory, directory.stat().st_ino)
    since = workshop.refused.setdefault(one, time.monotonic())
    if time.monotonic() - since > PATIENCE:
        del workshop.refused[one]
        detached.stop_all(detached.runs(directory))
        trees.discard(directory)


def finished(log: Path) -> None:
    """Remove what the making of a base has left, once its log has been read."""
    trees.discard(log.parent)
