"""The processes' own logs."""

from services.observe.logs import bound, configure

__all__ = ["bound", "configure"]
