"""The queue: Celery over Redis as a doorbell, and Redis for wake-ups."""

from services.queue.app import Consumer, make_app, sender
from services.queue.bell import BUILDS, HOUSEKEEPING, LAUNCHES, Bell, Ear, Listener
from services.queue.redis import Redis

__all__ = ["BUILDS", "HOUSEKEEPING", "LAUNCHES", "Bell", "Consumer", "Ear", "Listener", "Redis", "make_app", "sender"]
