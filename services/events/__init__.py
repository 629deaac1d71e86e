"""Events and logs: what is told about launches and builds, how it is stored, and how readers are woken."""

from services.events.kinds import ENDS_SERVER, ENDS_STREAM, Kind, NewEvent, StoredEvent, build_end
from services.events.wake import Wake, WakeListener

__all__ = ["ENDS_SERVER", "ENDS_STREAM", "Kind", "NewEvent", "StoredEvent", "Wake", "WakeListener", "build_end"]
