"""What we send to a hub and how we read what it says, without a hub."""

import json

import pytest

from services.errors import ImageVanished, LaunchFailed, Misconfigured, Overloaded
from services.hub import Hub, Progress, UserOptions
from services.hub.client import failure_of
from services.hub.models import progress_of, user_of
from services.hub.verdict import Verdict, marked, verdict_of
from services.settings import HubSettings

OPTIONS = UserOptions("image:1", "token", "repo", "ref", "host", "request", "persistent", "ip", {"environment": {"A": "b"}, "image": "no"})


def test_options_have_the_keys_of_binderhub() -> None:
    assert json.loads(OPTIONS.body()) == {
        "image": "image:1", "token": "token", "repo_url": "repo", "binder_ref_url": "ref", "binder_launch_host": "host",
        "binder_request": "request", "binder_persistent_request": "persistent", "binder_client_ip": "ip",
        "environment": {"A": "b"},
    }


@pytest.mark.parametrize(("event", "step"), [
    ({"progress": 0, "message": "Server requested"}, Progress("Server requested", 0)),
    ({"message": None}, Progress("")),
    ({"progress": 100, "ready": True, "message": "Ready", "url": "/user/x/"}, Progress("Ready", 100, ready=True, url="/user/x/")),
    ({"failed": True, "message": "Spawn failed: No room."}, Progress("No room.", failed=True, verdict=Verdict("launch_failed", True))),
    (
        {"failed": True, "message": "Spawn failed: Gone.", "html_message": marked("Gone.", Verdict("image_vanished", False))},
        Progress("Gone.", failed=True, verdict=Verdict("image_vanished", False)),
    ),
])
def test_events_of_the_hub(event: dict[str, object], step: Progress) -> None:
    assert progress_of(json.dumps(event).encode()) == step


@pytest.mark.parametrize("text", ["", "<b>words</b>", '<p data-dockyard="evil code final">', 'x<p data-dockyard="a final">'])
def test_hub_without_a_verdict_may_be_asked_again(text: str) -> None:
    assert verdict_of(text) == Verdict("launch_failed", retryable=True)


def test_failed_step_becomes_its_error() -> None:
    final = failure_of(Progress("Broken.", failed=True, verdict=Verdict("launch_failed", retryable=False)))
    assert isinstance(final, LaunchFailed)
    assert (final.sentence, final.retryable) == ("Broken.", False)
    assert failure_of(Progress("", failed=True)).retryable
    assert isinstance(failure_of(Progress("Full.", failed=True, verdict=Verdict("overloaded", retryable=True))), Overloaded)
    assert isinstance(failure_of(Progress("Gone.", failed=True, verdict=Verdict("image_vanished", retryable=False))), ImageVanished)


def test_only_an_active_server_counts() -> None:
    server = {"ready": False, "pending": None, "url": "/user/x/", "started": None, "last_activity": "2026-11-25T18:00:00.5Z"}
    assert user_of({"name": "x", "servers": {"": server}}).server is None
    user = user_of({"name": "x", "servers": {"": server | {"pending": "spawn"}}, "created": "2026-11-25T18:00:00Z"})
    assert user.server is not None
    assert (user.server.pending, user.server.ready) == ("spawn", False)
    assert user.server.last_activity is not None
    assert user.server.last_activity.tzinfo is not None
    assert user_of({"name": "x"}).server is None


@pytest.mark.parametrize(("url", "public", "address"), [
    ("http://hub:8081/hub/api/", "https://hub.example.org/", "https://hub.example.org/user/a%20b/"),
    ("http://hub:8081/jupyter/hub/api/", "https://hub.example.org/jupyter/", "https://hub.example.org/jupyter/user/a%20b/"),
    ("http+unix://%2frun%2fhub.sock/hub/api/", "http://localhost:8001/", "http://localhost:8001/user/a%20b/"),
])
def test_address_of_a_server(url: str, public: str, address: str) -> None:
    hub = Hub(HubSettings.model_validate({"url": url, "public_url": public}))
    assert hub.address("a b") == address
    assert hub.address("a b", "/other/") == public.partition("/jupyter")[0].rstrip("/") + "/other/"
    assert hub.address("a b", "https://x.hub.example.org/user/x/") == "https://x.hub.example.org/user/x/"


@pytest.mark.parametrize("url", ["", "hub:8081", "ftp://hub/hub/api/", "http://hub/api", "http:///hub/api/"])
def test_address_that_is_no_hub_is_named(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"hub\.url"):
        Hub(HubSettings.model_validate({"url": url}))
