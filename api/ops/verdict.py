"""Is it healthy, and if not, what is wrong since when: the first lines of the ops page, the worst first."""

from dataclasses import dataclass
from datetime import datetime

from api.ops.picture import Picture
from api.ops.times import short
from services.lifecycle.dependencies import Dependency
from services.lifecycle.roll import SILENT
from services.lifecycle.room import DISK

_LONG = 300.0  # seconds of waiting that nobody should have
_MANY, _SHARE = 5, 0.2  # failures in the last hour, and their share
_NEEDED = ("worker", "launcher", "reaper")
_WITHOUT = {
    "worker": "Nothing is looked up or built.", "launcher": "No server is started or stopped.",
    "reaper": "Idle servers are not stopped, events are not sent.",
    "Postgres": "No launch is accepted and none moves.", "JupyterHub": "No server starts or stops; launches wait.",
    "Valkey": "Nothing is lost; everything takes a second longer.",
    "Docker engine": "No build and no server starts.", "Kubernetes": "No build and no server starts.",
    "Registry": "No image is pushed or found.",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong. `grave`: launches are held up or fail by it."""

    what: str
    then: str = ""
    since: datetime | None = None
    grave: bool = True


def judge(picture: Picture | None, stands: list[Dependency]) -> list[Trouble]:
    """Everything that is wrong, the worst first; nothing where all is well."""
    found = [
        Trouble(one.detail, "No build begins.", one.since) if one.name == DISK
        else Trouble(f"{one.name} does not answer.", _WITHOUT.get(one.name, one.detail), one.since, grave=one.name != "Valkey")
        for one in stands if not one.ok
    ]
    if picture is None or picture.stale:
        return found
    now = picture.now
    if now.oldest_wait > _LONG:
        what = f"The oldest launch has waited {short(now.oldest_wait)} {now.oldest_what}."
        found.append(Trouble(what, f"{now.oldest_provider}: {now.oldest_repo}", now.oldest_at))
    tried = picture.failed.total + sum(value or 0.0 for value in picture.hour["good"])
    if picture.failed.total >= _MANY and picture.failed.total > _SHARE * tried:
        worst = picture.failed.groups["reason"][0]
        found.append(Trouble(
            f"{picture.failed.total / tried:.0%} of the launches of the last hour failed.", f"Most often: {worst.name}. {worst.message}"))
    alive = {process["name"] for process in picture.processes if process["silent"] < SILENT}
    found += [Trouble(f"No {name} is running.", _WITHOUT[name]) for name in _NEEDED if name not in alive]
    for process in picture.processes:
        disk = process["facts"].get("disk") or {}
        if disk and disk["free"] < 2 * disk["keep"]:
            left, least = size(disk["free"]), size(disk["keep"])
            found.append(Trouble(f"The disk of {disk['path']} is nearly full: {left} free.", f"Below {least} builds are stopped."))
    found += [
        Trouble(f"Events are not taken by the {one.name.removeprefix('events.')}.", one.error, one.failing_since, grave=False)
        for one in picture.outlets if one.failing_since is not None
    ]
    return sorted(found, key=lambda trouble: not trouble.grave)


def size(number: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
