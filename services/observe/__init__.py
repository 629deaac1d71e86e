"""The processes' own logs, and their numbers."""

from services.observe.logs import bound, configure
from services.observe.metrics import Metrics

__all__ = ["Metrics", "bound", "configure"]
