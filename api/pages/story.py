"""What a launch page says: one line of what happens now, the steps, and what can be done.

All words that somebody reads while waiting stand here, so that the page with a script and the page without
one tell the same. Pure: a `Launch` body in, a `Story` out. Durations that still run are marked by
`running`, and the page counts on.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from api.addresses import what_opens
from api.bodies import Launch

OPEN = frozenset({"waiting", "resolving", "building", "launching"})


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the list. `state`: open, current, done, skipped, cancelled or failed; `seconds` None: nothing to show."""

    name: str
    state: str
    detail: str = ""
    seconds: float | None = None

    @property
    def word(self) -> str:
        """The state in a word, for whoever does not see the sign."""
        words = {"open": "to do", "current": "now", "skipped": "left out"}
        return words.get(self.state, self.state)

    @property
    def sign(self) -> str:
        """Id of the symbol."""
        return "skipped" if self.state == "cancelled" else self.state

    @property
    def clock(self) -> str:
        """The duration as text."""
        return "" if self.seconds is None else duration(self.seconds)


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that changes on the page."""

    state: str
    title: str  # of the tab
    icon: str
    sign: str  # id of the symbol before the line
    now: str
    about: str = ""  # how long it will take, as a sentence; the page counts it down
    then: str = ""
    steps: tuple[Step, ...] = ()
    estimate: tuple[float, float] | None = None  # seconds: probably more than the one and less than the other
    asks: int = 0  # seconds after which the page asks again, where no event may tell what changes; 0: never
    can: frozenset[str] = field(default_factory=frozenset)  # cancel, stop, retry, rebuild, open
    end: "End | None" = None  # of the server that is ready


@dataclass(frozen=True, slots=True)
class End:
    """When a server will be stopped. The page's script counts `left` down, and says the time of day where it is `soon`."""

    at: str  # ISO 8601
    left: float  # seconds, 0 or more
    soon: bool  # a warning
    why: str
    then: str  # what can be done

    @property
    def time(self) -> str:
        """The time as text."""
        return remaining(self.left)


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def remaining(seconds: float) -> str:
    """The time to an end, which nobody knows to the second. The page's script says it too."""
    minutes = round(seconds / 60)
    return "less than a minute" if minutes < 1 else "1 minute" if minutes == 1 else f"{minutes} minutes"


def about(low: float, high: float) -> str:
    """What is left as one would say it: "About 40 seconds", "20 to 60 seconds", "Up to 3 minutes". The page's script says it too."""
    if high < 3:
        return "A moment"
    unit, size, least = ("seconds", 5, 1) if high < 90 else ("minutes", 1, 60)
    first, last = (max(size, round(seconds / least / size) * size) for seconds in (low, high))
    if high <= 1.7 * low or first == last:
        middle = max(size, round((low + high) / 2 / least / size) * size)
        return "About a minute" if 55 <= middle * least <= 75 else f"About {middle} {unit}"
    return f"Up to {last} {unit}" if low < high / 6 else f"{first} to {last} {unit}"


_STEPS = {
    "resolve": "Look up the commit", "build": "Build the environment", "push": "Store the image", "launch": "Start the server",
}


def steps_of(launch: Launch, pushes: bool) -> tuple[Step, ...]:
    """Look up, build, store, start: each with its state and the time it took. `pushes`: images are stored elsewhere."""
    spent, state = launch.steps, launch.state
    names = [name for name in _STEPS if (name != "push" or pushes or "push" in spent) and (name != "launch" or not launch.build_only)]
    ended_badly = state in ("failed", "cancelled")
    if state in OPEN:
        pushing = launch.build_state == "pushing" and "push" in names
        now = names.index({"building": "push" if pushing else "build", "launching": "launch"}.get(state, "resolve"))
    else:
        now = max((names.index(name) for name in spent if name in names), default=0) if ended_badly else len(names)
    details = {
        "resolve": launch.resolved_ref[:10] if launch.resolved_ref else "The forge is being asked." if state == "resolving" else "",
        "build": "It exists already." if "build" not in spent else _BUILD.get(launch.build_state or "", ""),
        "launch": "The hub is being asked." if state == "launching" else "",
    }
    steps = []
    for number, name in enumerate(names):
        if number > now:
            steps.append(Step(_STEPS[name], "skipped" if ended_badly else "open"))
        elif number == now:
            steps.append(Step(_STEPS[name], state if ended_badly else "current", details.get(name, ""), spent.get(name, 0.0)))
        elif name not in spent:
            steps.append(Step(_STEPS[name], "skipped", details.get(name, "")))
        else:
            steps.append(Step(_STEPS[name], "done", "" if name == "build" else details.get(name, ""), spent[name]))
    return tuple(steps)


_BUILD = {
    "queued": "Waiting for a free place.", "fetching": "Fetching the repository.", "building": "Installing what it needs.",
}
STOPPED = {
    "idle": "This server was stopped because nobody used it.",
    "max-age": "This server was stopped because its time was over.",
    "user": "You have stopped this server.",
    "lost": "This server is gone.",
}


_ENDS = {  # why, before it is near; why, when it is; what can be done
    "idle": (" unless somebody uses it", ", because nobody uses it", "Open {} to keep it."),
    "unopened": (" unless somebody opens it", ", because nobody has opened it", "Open {} to keep it."),
    "max-age": (": its time is over then", ", because its time is over", "It cannot be kept longer. Download what you need."),
}
_NEAR = 3600.0  # seconds; what is farther away is not worth a word


def _end(launch: Launch, now: datetime) -> End | None:
    if launch.state != "ready" or launch.target != "ready" or launch.ends_at is None or launch.ends_why not in _ENDS:
        return None
    left = max(0.0, (launch.ends_at - now).total_seconds())
    if left >= _NEAR:
        return None
    unless, because, then = _ENDS[launch.ends_why]
    at = launch.ends_at.astimezone(UTC).isoformat(timespec="seconds")
    soon = launch.ends_soon
    return End(at, round(left, 1), soon, because if soon else unless, then.format(what_opens(launch.urlpath)) if soon else "")


def _asks(launch: Launch, end: End | None) -> int:
    if launch.state in ("waiting", "stopping") or launch.build_state == "queued":
        return 4
    return 0 if end is None else 10 if end.soon else 30


def tell(launch: Launch, *, pushes: bool = True, now: datetime | None = None) -> Story:
    """The story so far; `pushes` as in `steps_of`."""
    name = launch.repo or launch.spec
    line, about_, then = _now(launch)
    state = launch.state
    word, icon, sign = {
        "ready": ("Ready", "icon_ready.svg", "done"), "done": ("Built", "icon_ready.svg", "done"),
        "failed": ("Failed", "icon_failed.svg", "failed"), "cancelled": ("Cancelled", "icon.svg", "skipped"),
        "stopping": ("Stopping", "icon.svg", "current"), "stopped": ("Stopped", "icon.svg", "skipped"),
        "building": ("Building", "icon_building.svg", "current"),
        "launching": ("Starting", "icon_building.svg", "current"),
    }.get(state, ("Waiting", "icon_building.svg", "wait" if state == "waiting" else "current"))
    end = _end(launch, now or datetime.now(UTC))
    if state in OPEN and launch.target != "ready":
        line, about_, then = "Cancelling.", "", ""
    elif end is not None and end.soon:
        word, icon, line = "Ending soon", "icon_ending.svg", "Your server is running."
    return Story(
        state, f"{word} · {name}", icon, sign, line, about_, then, steps_of(launch, pushes), _band(launch), _asks(launch, end),
        _can(launch), end,
    )


def _band(launch: Launch) -> tuple[float, float] | None:
    if launch.state not in OPEN or launch.estimate_low is None or launch.estimate_high is None:
        return None
    return launch.estimate_low, launch.estimate_high


def _can(launch: Launch) -> frozenset[str]:
    if launch.state in OPEN:
        return frozenset({"cancel"} if launch.target == "ready" else ())
    if launch.state == "ready":
        return frozenset({"open", "stop"})
    if launch.state in ("failed", "cancelled"):
        return frozenset({"retry", "rebuild"} if launch.build else {"retry"})
    return frozenset({"retry"} if launch.state == "stopped" else ())


def _before(number: int, one: str, many: str) -> str:
    return f"1 {one} is before yours." if number == 1 else f"{number} {many} are before yours."


def _now(launch: Launch) -> tuple[str, str, str]:
    """The one line, how long it will take, and what follows from it."""
    band = _band(launch)
    wait = f"{about(*band)}." if band else ""
    queued = launch.position is not None and launch.position > 1
    ahead = (launch.position or 1) - 1
    match launch.state:
        case "waiting":
            return (_before(ahead, "launch", "launches") if queued else "Waiting for a free worker."), wait, ""
        case "resolving":
            ref = "the newest version" if launch.ref in ("", "HEAD") else launch.ref
            return f"Looking up {ref} of {launch.repo or launch.spec}.", wait, launch.waits or ""
        case "building" if queued and launch.build_state == "queued":
            return _before(ahead, "build", "builds"), wait, ""
        case "building" if launch.build_state == "queued":
            return "Waiting for a free place to build.", wait, ""
        case "building" if launch.build_state == "fetching":
            return "Fetching the repository.", wait, ""
        case "building" if launch.build_state == "pushing":
            return "Storing the image.", wait, "The next visitor will not wait for it."
        case "building":
            usual = wait or "New environments take 20 to 60 seconds."
            return "Building the environment.", usual, "The next visitor will not wait for it."
        case "launching" if launch.waits:
            place = _before(ahead, "launch", "launches") if queued else ""
            return "Your server starts as soon as it can.", "", f"{launch.waits} {place}".rstrip()
        case "launching":
            reused = "build" not in launch.steps
            return "Starting your server.", wait or "Usually 2 seconds.", "This environment exists already." if reused else ""
        case "ready":
            return f"Ready. Opening {what_opens(launch.urlpath)}…", "", ""
        case "done":
            return "The image is built.", "", launch.image or ""
        case "cancelled":
            return "This launch was cancelled.", "", ""
        case "stopping":
            return "Stopping the server.", "", ""
        case "stopped":
            code = launch.reason.code if launch.reason else ""
            said = launch.reason.message if launch.reason else ""
            return said or STOPPED.get(code, "This server was stopped."), "", "Start a new one?"
    said = launch.reason.message if launch.reason else ""
    return said or "This launch failed.", "", launch.reason.hint if launch.reason else ""
