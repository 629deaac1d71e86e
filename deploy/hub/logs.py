"""What the hub writes to its log: the same lines as our own processes, and less of them.

With `log.format` json each record is one line that `up` can read. JupyterHub tells several things of every launch that the
launcher tells better, and warns of each server that it is not a `jupyterhub-singleuser`; those are left out.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from tornado.log import app_log

_CHATTER = frozenset({"metrics", "migration", "provider", "roles", "users"})  # modules of JupyterHub and of what it uses


class Quiet(logging.Filter):
    """Lets pass what an operator can use."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for chatter, for the version that our servers do not tell, and for an end that was asked for."""
        if record.module == "_version" or record.funcName == "shutdown_cancel_tasks":
            return False
        return record.levelno > logging.INFO or record.module not in _CHATTER


class Line(logging.Formatter):
    """One JSON object a record, with the keys of `services.observe`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = {
            "event": record.getMessage(), "level": record.levelname.lower(), "process": "hub",
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }  # fmt: skip
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


def log_failure(handler: Any) -> None:
    """Log requests that the hub failed at; the others are told of by the processes that make them."""
    if handler.get_status() >= 500:
        app_log.error("%d %s %s", handler.get_status(), handler.request.method, handler.request.path)


def logging_config(form: str) -> dict[str, Any]:
    """For `JupyterHub.logging_config`, which is laid over the hub's own; `form` is the setting `log.format`."""
    console: dict[str, Any] = {"filters": ["quiet"]} | ({"formatter": "line"} if form == "json" else {})
    return {
        "filters": {"quiet": {"()": "deploy.hub.logs.Quiet"}},
        "formatters": {"line": {"()": "deploy.hub.logs.Line"}},
        "handlers": {"console": console},
    }
