"""What the launch page says."""

from datetime import UTC, datetime, timedelta

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
    ("low", "high", "text"),
    [(0.3, 1, "A moment"), (3, 4, "About 5 seconds"), (32, 44, "About 40 seconds"), (55, 75, "About a minute"),
     (18, 62, "20 to 60 seconds"),
     (2, 58, "Up to 60 seconds"), (50, 180, "1 to 3 minutes"), (10, 180, "Up to 3 minutes"), (110, 140, "About 2 minutes"),
     (70, 100, "About a minute")],
)
def test_estimates_are_told_as_one_would_say_them(low, high, text):
    assert about(low, high) == text


@pytest.mark.parametrize(
    ("told", "now", "about_", "then"),
    [
        (story("waiting", position=1), "Waiting for a free worker.", "", ""),
        (story("waiting", position=2), "1 launch is before yours.", "", ""),
        (story("waiting", position=4, estimate_low=33, estimate_high=45), "3 launches are before yours.", "About 40 seconds.", ""),
        (story("resolving"), "Looking up main of norvig/pytudes.", "", ""),
        (story("building", build_state="queued", position=3), "2 builds are before yours.", "", ""),
        (story("building", build_state="queued", position=1), "Waiting for a free place to build.", "", ""),
        (story("building", build_state="fetching", position=1), "Fetching the repository.", "", ""),
        (story("building", build_state="building"), "Building the environment.", "New environments take 20 to 60 seconds.",
         "The next visitor will not wait for it."),
        (story("building", build_state="pushing"), "Storing the image.", "", "The next visitor will not wait for it."),
        (story("launching", steps={"launch": 1}), "Starting your server.", "Usually 2 seconds.",
         "This environment exists already."),
        (story("launching", steps={"build": 9, "launch": 1}, estimate_low=0.5, estimate_high=1.0), "Starting your server.", "A moment.",
         ""),
        (story("launching", waits="JupyterHub does not answer.", position=3), "Your server starts as soon as it can.", "",
         "JupyterHub does not answer. 2 launches are before yours."),
        (story("resolving", waits="It does not answer."), "Looking up main of norvig/pytudes.", "", "It does not answer."),
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
        (story("waiting", steps={"resolve": 0.1}), ["current", "open", "open", "open"]),
        (story("building", steps={"resolve": 1, "build": 2}), ["done", "current", "open", "open"]),
        (story("building", build_state="pushing", steps={"resolve": 1, "build": 2, "push": 1}), ["done", "done", "current", "open"]),
        (story("launching", steps={"resolve": 1, "launch": 2}), ["done", "skipped", "skipped", "current"]),
        (story("launching", steps={"resolve": 1, "build": 2, "launch": 2}), ["done", "done", "skipped", "current"]),
        (story("ready", steps={"resolve": 1, "build": 3, "push": 1, "launch": 2}), ["done", "done", "done", "done"]),
        (story("building", build_state="building", steps={"resolve": 1, "build": 1, "launch": 2}), ["done", "current", "open", "open"]),
        (story("failed", steps={"resolve": 1}), ["failed", "skipped", "skipped", "skipped"]),
        (story("failed", steps={"resolve": 1, "build": 1}), ["done", "failed", "skipped", "skipped"]),
        (story("failed", steps={"resolve": 1, "build": 1, "push": 1}), ["done", "done", "failed", "skipped"]),
        (story("cancelled", steps={"resolve": 1, "build": 1, "launch": 3}), ["done", "done", "skipped", "cancelled"]),
        (story("done", build_only=True, steps={"resolve": 1, "build": 3, "push": 1}), ["done", "done", "done"]),
    ],
)
def test_the_steps_follow_the_state(told, states):
    assert [step.state for step in told.steps] == states


def test_an_image_that_stays_where_it_was_built_is_not_stored():
    launch = Launch(**BASE, state="ready", steps={"resolve": 1, "build": 3, "launch": 2})
    assert [(step.name, step.seconds) for step in tell(launch, pushes=False).steps] == [
        ("Look up the commit", 1), ("Build the environment", 3), ("Start the server", 2)]


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


@pytest.mark.parametrize(
    ("why", "left", "soon", "said"),
    [
        ("idle", 290, False, ("5 minutes", " unless somebody uses it", "")),
        ("unopened", 80, False, ("1 minute", " unless somebody opens it", "")),
        ("max-age", 1000, False, ("17 minutes", ": its time is over then", "")),
        ("idle", 110, True, ("2 minutes", ", because nobody uses it", "Open JupyterLab to keep it.")),
        ("unopened", 50, True, ("1 minute", ", because nobody has opened it", "Open JupyterLab to keep it.")),
        ("max-age", -3, True, ("less than a minute", ", because its time is over", "It cannot be kept longer. Download what you need.")),
        ("idle", 3700, False, None), ("not known yet", 100, True, None),
    ],
)
def test_a_ready_page_says_when_its_server_ends(why, left, soon, said):
    launch = Launch(**BASE, state="ready", ends_at=BASE["created_at"] + timedelta(seconds=left), ends_why=why, ends_soon=soon)
    told = tell(launch, now=BASE["created_at"])
    assert (told.end and (told.end.time, told.end.why, told.end.then)) == said
    assert told.title.startswith("Ending soon" if soon and said else "Ready")
    assert told.now == ("Your server is running." if soon and said else "Ready. Opening JupyterLab…")
    stopping = tell(launch.model_copy(update={"target": "stopped"}), now=BASE["created_at"])
    assert stopping.end is None
