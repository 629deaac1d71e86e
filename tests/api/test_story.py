"""What the launch page says."""

from datetime import UTC, datetime

import pytest

from api.bodies import Launch, Reason
from api.pages.story import about, duration, tell

BASE = {"id": "0" * 32, "provider": "gh", "spec": "norvig/pytudes/main", "repo": "norvig/pytudes", "ref": "main",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC)}


def story(state, **more):
    return tell(Launch(**BASE, state=state, **more))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "< 0.1 s"), (0.42, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
     (3720, "1 h 02 min")],
)
def test_durations_are_told(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "A moment"), (4, "About 5 seconds"), (38, "About 40 seconds"), (70, "About a minute"), (130, "About 2 minutes")],
)
def test_estimates_are_told_as_one_would_say_them(seconds, text):
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("told", "now", "about_", "then"),
    [
        (story("waiting", position=1), "Waiting for a free worker.", "", ""),
        (story("waiting", position=2), "1 launch is before yours.", "", ""),
        (story("waiting", position=4, estimate_seconds=41), "3 launches are before yours.", "About 40 seconds.", ""),
        (story("resolving"), "Looking up main of norvig/pytudes.", "", ""),
        (story("building", build_state="queued", position=3), "2 builds are before yours.", "", ""),
        (story("building", build_state="fetching", position=1), "Fetching the repository.", "", ""),
        (story("building", build_state="building"), "Building the environment.", "New environments take 20 to 60 seconds.",
         "The next visitor will not wait for it."),
        (story("launching", timings={"launching": 1}), "Starting your server.", "Usually 2 seconds.",
         "This environment exists already."),
        (story("launching", timings={"building": 9, "launching": 1}, estimate_seconds=1.0), "Starting your server.", "A moment.", ""),
        (story("ready"), "Ready. Opening JupyterLab…", "", ""),
        (story("ready", urlpath="rstudio/?x=1"), "Ready. Opening RStudio…", "", ""),
        (story("failed", reason=Reason(code="x", message="It broke.", hint="Mend it.")), "It broke.", "", "Mend it."),
        (story("failed"), "This launch failed.", "", ""),
        (story("cancelled"), "This launch was cancelled.", "", ""),
        (story("stopped", reason=Reason(code="idle")), "This server was stopped because nobody used it.", "", "Start a new one?"),
        (story("building", target="cancelled"), "Cancelling.", "", ""),
    ],
)
def test_one_line_says_what_happens(told, now, about_, then):
    assert (told.now, told.about, told.then) == (now, about_, then)


@pytest.mark.parametrize(
    ("told", "states"),
    [
        (story("waiting"), ["current", "open", "open"]),
        (story("building", timings={"resolving": 1, "building": 2}), ["done", "current", "open"]),
        (story("launching", timings={"resolving": 1, "launching": 2}), ["done", "skipped", "current"]),
        (story("ready", timings={"resolving": 1, "building": 3, "launching": 2, "ready": 9}), ["done", "done", "done"]),
        (story("failed", timings={"waiting": 1, "resolving": 1, "failed": 0}), ["failed", "open", "open"]),
        (story("failed", timings={"waiting": 1, "building": 1, "failed": 0}), ["done", "failed", "open"]),
        (story("cancelled", timings={"waiting": 1, "building": 1, "launching": 3}), ["done", "done", "cancelled"]),
        (story("done", build_only=True, timings={"building": 3}), ["done", "done"]),
    ],
)
def test_the_steps_follow_the_state(told, states):
    assert [step.state for step in told.steps] == states


@pytest.mark.parametrize(
    ("told", "can"),
    [
        (story("waiting"), {"cancel"}), (story("launching", target="cancelled"), set()), (story("ready"), {"open", "stop"}),
        (story("failed", build="b"), {"retry", "rebuild"}), (story("failed"), {"retry"}), (story("stopped"), {"retry"}),
        (story("done"), set()),
    ],
)
def test_only_what_makes_sense_is_offered(told, can):
    assert told.can == can
