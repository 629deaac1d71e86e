"""Event streams: one reader per process, any number of watchers."""

from api.streams.fanout import Fanout
from api.streams.position import Position
from api.streams.response import EventStream

__all__ = ["EventStream", "Fanout", "Position"]
