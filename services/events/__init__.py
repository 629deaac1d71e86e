"""Events and logs: what is told about launches and builds, how it is stored, and how readers are woken."""

from services.events.kinds import ENDS_STREAM, Kind, NewEvent, StoredEvent
from services.events.wake import Wake, WakeListener

__all__ = ["ENDS_STREAM", "Kind", "NewEvent", "StoredEvent", "Wake", "WakeListener"]
