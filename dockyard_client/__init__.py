"""A typed Python client of Dockyard's HTTP API, blocking and async; needs only httpx.

Start at `Client` or `AsyncClient`. `calls` has every verb with its arguments, `models` what they return,
`errors` what they raise.
"""

from dockyard_client.aclient import AsyncClient
from dockyard_client.client import Client
from dockyard_client.errors import (
    BadAnswer,
    ClientError,
    Invalid,
    NotFound,
    Overloaded,
    Problem,
    ServerError,
    StreamCut,
    Unauthorized,
    Unavailable,
)
from dockyard_client.models import Build, Event, Launch, Page, Reason, Server, Stats

__all__ = [
    "AsyncClient", "BadAnswer", "Build", "Client", "ClientError", "Event", "Invalid", "Launch", "NotFound",
    "Overloaded", "Page", "Problem", "Reason", "Server", "ServerError", "Stats", "StreamCut",
    "Unauthorized", "Unavailable",
]
