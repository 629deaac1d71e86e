"""What BinderHub's users of a Spawner expect of the mixin, on a Spawner reduced to what it uses."""

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.hub.binder import BinderMixin, binder_environment, without_token
from deploy.hub.failure import StartFailed
from services.hub import UserOptions

OPTIONS = {
    "image": "registry/r2d-x:1", "token": "secret", "repo_url": "https://example.org/r", "binder_ref_url": "https://example.org/r/tree/1",
    "binder_launch_host": "https://binder.example.org/", "binder_request": "v2/gh/o/r/HEAD",
    "binder_persistent_request": "v2/gh/o/r/1", "binder_client_ip": "192.0.2.1",
}


class Plain:
    """The part of a Spawner that the mixin stands on."""

    port, default_url, image = 8888, "/lab", ""

    def __init__(self, options: dict[str, Any]) -> None:
        self.user_options, self.args, self.server = options, ["--debug"], SimpleNamespace(base_url="/user/x/")

    def get_env(self) -> dict[str, str]:
        return {"JUPYTERHUB_USER": "x"}

    def start(self) -> str:
        return f"started {self.image}"


class Spawner(BinderMixin, Plain):
    pass


def test_environment_is_that_of_binderhub() -> None:
    assert Spawner(OPTIONS).get_env() == {
        "JUPYTERHUB_USER": "x", "BINDER_REPO_URL": "https://example.org/r", "BINDER_REF_URL": "https://example.org/r/tree/1",
        "BINDER_LAUNCH_HOST": "https://binder.example.org/", "BINDER_REQUEST": "v2/gh/o/r/HEAD",
        "BINDER_PERSISTENT_REQUEST": "v2/gh/o/r/1", "BINDER_CLIENT_IP": "192.0.2.1",
    }
    assert binder_environment({"repo_url": "", "image": "x"}) == {}


def test_options_of_a_launch_fill_every_variable() -> None:
    sent = UserOptions("i", "t", "1", "2", "3", "4", "5", "6")
    keys = [key for key in sent.__slots__ if key not in ("image", "token", "extra")]
    assert len(binder_environment(dict.fromkeys(keys, "x"))) == len(keys) == 6


def test_arguments_suit_old_and_new_servers() -> None:
    spawner = Spawner(OPTIONS)
    args = spawner.get_args()
    for app in ("NotebookApp", "ServerApp"):
        assert {f"--{app}.token=secret", f"--{app}.base_url=/user/x/", f"--{app}.default_url=/lab"} <= set(args)
    assert args[-1] == "--debug"
    assert not any("allow_origin" in arg for arg in args)
    spawner.cors_allow_origin = "*"
    assert {"--ServerApp.allow_origin=*", "--ServerApp.allow_origin_pat=.*"} <= set(spawner.get_args())


def test_start_takes_the_image_of_the_launch() -> None:
    assert Spawner(OPTIONS).start() == "started registry/r2d-x:1"


@pytest.mark.parametrize("change", [{"image": ""}, {"token": None}, {"image": ["x"]}, {"token": "a\0b"}])
def test_launch_without_image_or_token_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(StartFailed):
        Spawner(OPTIONS | change).start()


def test_stored_options_have_no_token() -> None:
    assert without_token(None, OPTIONS, None, None) == {key: value for key, value in OPTIONS.items() if key != "token"}
    assert without_token(None, None, None, None) is None
