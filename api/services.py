"""What the routes stand on: the connections and use cases of one api process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from api.build_tokens import BuildTokens
from api.leaving import Leaving
from api.lines import Matters
from api.metrics import ApiMetrics
from api.streams import Fanout
from api.watch import Watch
from services.lifecycle import Teller
from services.policy import Policy
from services.providers.base import Provider
from services.queue import Redis
from services.secrets import Secret
from services.settings import Settings
from services.usecases.census import Census
from services.usecases.create import Creator
from services.usecases.pace import Pace


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Made once at start, kept at `app.state.services`."""

    settings: Settings
    providers: Mapping[str, Provider]
    teller: Teller  # its `db` is the database
    redis: Redis
    creator: Creator
    policy: Policy  # what may be launched now
    fanout: Fanout
    secret: Secret
    tokens: BuildTokens
    leaving: Leaving
    watch: Watch
    metrics: ApiMetrics
    pace: Pace = field(default_factory=Pace)
    matters: Matters = field(default_factory=Matters)
    census: Census = field(default_factory=Census)


def services_of(request: HTTPConnection) -> ApiServices:
    """The services of the app that answers this request."""
    found: ApiServices = request.app.state.services
    return found
