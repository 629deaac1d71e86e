"""The Celery application: three queues, one task each, and settings that make a message a mere nudge.

A message carries at most one word. It is never acknowledged late, never retried and never waited for, since losing it
costs a second. The worker side runs Celery's consumer in a thread beside the process's event loop (`consume`), so
that Celery cannot fork it, block it or keep it from starting while the broker is away. """

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog
from celery import Celery
from celery.signals import setup_logging

from services.queue.bell import BUILDS, HOUSEKEEPING, LAUNCHES
from services.settings import RedisSettings

log = structlog.get_logger()
TASKS = {BUILDS: "dockyard.builds.bell", LAUNCHES: "dockyard.launches.bell", HOUSEKEEPING: "dockyard.housekeeping.sweep"}


def broker_url(settings: RedisSettings) -> str:
    """The address as kombu writes it: redis-py's `unix://PATH?db=N` is `redis+socket://PATH?virtual_host=N` there."""
    url = settings.url.get_secret_value()
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = parse_qs(parts.query)
    return f"redis+socket://{parts.path}?virtual_host={query.get('db', ['0'])[0]}"


def make_app(settings: RedisSettings) -> Celery:
    """An application bound to this broker."""
    app = Celery("dockyard", set_as_current=False)
    prefix = settings.prefix
    app.conf.update(
        broker_url=broker_url(settings),
        broker_connection_timeout=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": f"{prefix}:celery:", "socket_timeout": 3, "socket_connect_timeout": 1, "visibility_timeout": 3600,
            "max_retries": 0,
        },
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_publish_retry=False,
        task_acks_late=False,
        task_default_queue=HOUSEKEEPING,
        task_routes={name: {"queue": queue} for queue, name in TASKS.items()},
        task_queue_max_priority=None,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=8,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        enable_utc=True,
    )
    return app


def sender(app: Celery) -> Callable[[str], None]:
    """What `Bell` calls in a thread: publish the queue's task. A message older than ten seconds has nothing to say."""
    def send(queue: str) -> None:
        app.send_task(TASKS[queue], queue=queue, expires=10, retry=False)
    return send


class Consumer:
    """Celery's consumer of one queue, in a daemon thread; `rung` is called for every message, in that thread."""

    def __init__(self, app: Celery, queue: str, rung: Callable[..., None]) -> None:
        self._app = app
        self._queue = queue
        self._worker: Any = None

        def bell(*words: str) -> None:
            rung(*words)

        # Not shared: Celery gives a shared task to every application of the process, and the first of a name wins.
        app.task(name=TASKS[queue], ignore_result=True, shared=False, lazy=False)(bell)
        setup_logging.connect(_leave_logging_alone)
        self._thread = threading.Thread(target=self._run, name=f"celery-{queue}", daemon=True)

    def start(self) -> None:
        """Begin to consume; the broker may come later."""
        self._thread.start()

    def _run(self) -> None:
        # WorkController is Celery's worker without the program around it: no signal handlers, which a thread cannot
        # set.
        try:
            self._app.set_current()  # for this thread: Celery looks a task that it runs up in the current application
            self._worker = self._app.WorkController(
                pool="solo", concurrency=1, queues=[self._queue], without_heartbeat=True, without_mingle=True, without_gossip=True,
            )
            self._worker.start()
        except Exception:  # the process lives on by polling
            log.exception("celery_consumer_ended", queue=self._queue)

    def stop(self) -> None:
        """Ask the thread to end; it is a daemon and dies with the process in any case."""
        if self._worker is not None:
            self._worker.stop()


def _leave_logging_alone(**_: Any) -> None:
    """Celery configures logging only if nobody is connected to this signal."""
