"""The runtimes: one module each, and one line in the table here."""

from collections.abc import Callable
from importlib import import_module

from services.errors import Misconfigured
from services.runtimes.base import ImageStore, Runtime
from services.settings import Settings

# The name of a runtime and the module that makes it. Imported when chosen: the libraries of the others are not loaded.
TABLE: dict[str, str] = {
    "local": "services.runtimes.local",
    "docker": "services.runtimes.docker",
    "fake": "services.runtimes.fake",
    "kubernetes": "services.runtimes.kubernetes",
}


def make_runtime(settings: Settings) -> Runtime:
    """The runtime that the setting `runtime.name` chooses. Raises `Misconfigured`."""
    name = settings.runtime.name
    if name not in TABLE:
        raise Misconfigured(f"Setting runtime.name: {name} is not built yet; there is {', '.join(sorted(TABLE))}.")
    make: Callable[[Settings], Runtime] = import_module(TABLE[name]).make
    return make(settings)


def make_images(settings: Settings) -> ImageStore:
    """The image store alone, for a process that builds nothing."""
    return make_runtime(settings).images
