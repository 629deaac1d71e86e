"""Structured logs: one line an event, a stable snake_case name, the launch's and build's ids bound once.

Text for people (the default), JSON for collectors. Third-party libraries' records go through the same renderer, from
warnings up. Nothing that is logged may hold a token: values whose key names a secret are replaced, whatever they are.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars

from services.settings import LogSettings

_SECRET = ("token", "password", "secret", "authorization", "cookie")


def _masked(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if any(word in key.lower() for word in _SECRET):
            event[key] = "***"
    return event


def _calm(record: logging.LogRecord) -> bool:
    """Let Celery warn and no more, in one line: it is a doorbell here, and what it takes for critical costs a second."""
    if record.name.partition(".")[0] in ("celery", "kombu"):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = record.getMessage().partition("\n")[0], None, None
    return True


def configure(settings: LogSettings, process: str) -> None:
    """Set up logging of this process on standard error; call it once, first."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Any] = [
        merge_contextvars, structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _masked,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if settings.format == "json"
        # Plain tracebacks: the pretty ones print local variables, and with them secrets.
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer]
        if settings.format == "json" else [*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    handler.addFilter(_calm)
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    bind_contextvars(process=process)


@contextmanager
def bound(**values: str) -> Iterator[None]:
    """Bind ids to everything that is logged inside."""
    tokens = bind_contextvars(**values)
    try:
        yield
    finally:
        reset_contextvars(**tokens)
