"""JupyterHub's REST API: the only package that speaks to a hub. `spawn` is what the launcher calls."""

from services.hub.client import Hub, Started
from services.hub.models import Progress, Server, User, UserOptions
from services.hub.spawn import follow, spawn

__all__ = ["Hub", "Progress", "Server", "Started", "User", "UserOptions", "follow", "spawn"]
