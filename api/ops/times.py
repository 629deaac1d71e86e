"""Times as the ops page writes them: how long ago, with the exact moment beside it."""

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape


def exact(at: datetime) -> str:
    """To the second, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(seconds: float) -> str:
    """How long, in one unit: 12 s, 3 min, 5 h, 2 d."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def ago(at: datetime | None) -> str:
    """How long ago."""
    return "" if at is None else short((datetime.now(UTC) - at).total_seconds())


def when(at: datetime | None) -> Markup:
    """A `time` element that the page's script keeps counting."""
    if at is None:
        return Markup("")
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(at.astimezone(UTC).isoformat(), exact(at), ago(at))


def steady(html: str) -> str:
    """A piece of the page without what changes by itself, to tell whether anything else has changed."""
    return re.sub(r"(<time[^>]*>)[^<]*", r"\1", html)


__all__ = ["ago", "escape", "exact", "short", "steady", "when"]
