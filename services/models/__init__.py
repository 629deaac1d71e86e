"""The tables. Rows are stored and stay inside `services`; what is passed around are frozen dataclasses."""

from services.models.operations import Dependency, Outlet, ProcessRow, Sample, Tally
from services.models.policy import Meter, RuleRow
from services.models.tables import (
    Base,
    Build,
    Event,
    Image,
    Launch,
    LogChunk,
    Server,
    Sweep,
)

__all__ = [
    "Base", "Build", "Dependency", "Event", "Image", "Launch", "LogChunk", "Meter", "Outlet", "ProcessRow", "RuleRow", "Sample", "Server",
    "Sweep", "Tally",
]
