"""Settings of what is told to others: numbers for Prometheus, events for whoever keeps statistics."""

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from services.settings.base import Group


class ObserveSettings(Group):
    """Numbers of each process, for Prometheus."""

    group: ClassVar[str] = "observe"
    metrics_address: str = Field("", pattern=r"^(|unix:/.+|.+:\d+)$", description="Where each process answers /metrics beside the api's own: host:port, such as 0.0.0.0:9100, or unix:DIRECTORY for a socket of its name there, which the api passes on at /metrics/NAME. Empty: nowhere. `up` chooses a directory.")


class EventSettings(Group):
    """Launch events, for statistics: to a file, to standard output of the reaper, to a webhook; each once at least."""

    group: ClassVar[str] = "events"
    file: str = Field("", description="File that events are appended to, a JSON object a line; opened anew for every batch, so it may be rotated. Empty: none.")
    stdout: bool = Field(False, description="Whether the reaper writes events to its standard output.")
    webhook: SecretStr = Field(SecretStr(""), description="Address that events are sent to with POST, as a JSON list of at most 100. Whoever sets it answers for where it leads: it is not held to the egress rule. Empty: none.")
    webhook_token: SecretStr = Field(SecretStr(""), description="Sent to the webhook as Authorization: Bearer.")
    schemas: list[Literal["binderhub", "dockyard"]] = Field(default_factory=lambda: ["binderhub", "dockyard"], description="binderhub: binderhub.jupyter.org/launch, version 6, for each launch that becomes ready; dockyard: every move of every launch.")  # type: ignore[arg-type]
    timeout: float = Field(10.0, gt=0, description="Seconds that the webhook has for an answer.")
    queue: int = Field(100_000, ge=100, description="Events that wait while a sink does not take them; of more, the oldest are dropped, and counted in dockyard_events_dropped_total.")
