"""The runtime `local`: repositories built with uv and run in bubblewrap sandboxes on this machine, without containers."""

from dataclasses import dataclass

from services.egress.logins import Logins
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.images import Images
from services.runtimes.local.paths import Paths
from services.runtimes.local.reality import LocalReality
from services.runtimes.local.servers import Servers
from services.runtimes.local.spawning import LocalSpawning
from services.runtimes.local.workshop import Workshop
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalRuntime:
    """A `Runtime`."""

    builder: LocalBuilder
    images: Images
    spawning: LocalSpawning
    reality: LocalReality
    name: str = "local"


def make(settings: Settings) -> LocalRuntime:
    """The runtime of the settings; touches nothing on the disk before it is used."""
    workshop = Workshop(Paths.of(settings.local, settings.home), settings.local, settings.builds, logins=Logins(settings.providers))
    servers = Servers(settings.home, settings.local, settings.builds)
    return LocalRuntime(LocalBuilder(workshop), workshop.images, LocalSpawning(servers), LocalReality(workshop, servers))
