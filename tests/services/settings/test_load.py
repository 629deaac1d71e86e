"""Where values come from, and how a wrong one is named."""

from pathlib import Path

import pytest

from services.errors import Misconfigured
from services.settings import ALL_GROUPS, load


def test_the_last_of_default_file_environment_and_flag_wins(tmp_path: Path) -> None:
    file = tmp_path / "dockyard.toml"
    file.write_text("[front]\nport = 9001\nname = 'From file'\nbase_url = '/a/'\n")
    settings = load(
        {"DOCKYARD_FRONT_PORT": "9002", "DOCKYARD_FRONT_NAME": "From environment"}, config=file, flags={"front.port": "9003"},
        defaults={"front": {"host": "127.0.0.5", "port": 1}})
    assert (settings.front.port, settings.front.name, settings.front.base_url) == (9003, "From environment", "/a/")
    origins = {key: settings.origins[f"front.{key}"].text for key in ("port", "name", "base_url", "host", "hold")}
    assert origins == {
        "port": "flag", "name": "environment DOCKYARD_FRONT_NAME", "base_url": f"file {file}",
        "host": "default of this command", "hold": "default",
    }


@pytest.mark.parametrize(("text", "value"), [("a,b", ["a", "b"]), ('["a", "b,c"]', ["a", "b,c"]), ("", []), (" x ", ["x"])])
def test_lists_are_words_or_json(text: str, value: list[str]) -> None:
    assert load({"DOCKYARD_FRONT_HOSTS": text}).front.hosts == value


@pytest.mark.parametrize(("environ", "words"), [
    ({"DOCKYARD_FRONT_PORT": "x"}, ["front.port", "DOCKYARD_FRONT_PORT", "'x'"]),
    ({"DOCKYARD_RUNTIME_NAME": "podman"}, ["runtime.name", "podman"]),
    ({"DOCKYARD_BUILDS_CONCURRENCY": "0"}, ["builds.concurrency", "greater than or equal to 1"]),
    ({"DOCKYARD_FRONT_HOSTS": "[1,"}, ["front.hosts", "JSON"]),
    ({"DOCKYARD_AUTH_ADMIN_TOKEN": "s" * 15}, ["auth.admin_token", "guessed"]),
    ({"DOCKYARD_AUTH_READ_TOKEN": "s"}, ["auth.read_token", "guessed"]),
])
def test_a_wrong_value_is_named_with_its_origin(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(Misconfigured) as error:
        load(environ)
    for word in words:
        assert word in error.value.sentence


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(Misconfigured) as error:
        load({"DOCKYARD_DATABASE_URL": "postgresql://u:hunter2@h/d", "DOCKYARD_DATABASE_POOL": "0"})
    assert "hunter2" not in error.value.sentence


@pytest.mark.parametrize("content", ["[front]\nport = ", "[frnt]\nport = 1\n", "[front]\nprot = 1\n"])
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "dockyard.toml"
    file.write_text(content)
    with pytest.raises(Misconfigured) as error:
        load({}, config=file)
    assert str(file) in error.value.sentence


def test_every_setting_is_described() -> None:
    for group in ALL_GROUPS:
        assert group.__doc__
        for key, field in group.model_fields.items():
            assert field.description, f"{group.group}.{key}"


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("whisper\n")
    (tmp_path / "logins").write_text('{"git.example.org": "username=a\\npassword=b"}')
    settings = load({
        "DOCKYARD_PROVIDERS_GITHUB_TOKEN_FILE": str(tmp_path / "token"),
        "DOCKYARD_PROVIDERS_GIT_CREDENTIALS_FILE": str(tmp_path / "logins"), "DOCKYARD_FRONT_NAME_FILE": str(tmp_path / "absent"),
    })
    assert settings.providers.github_token.get_secret_value() == "whisper"
    assert settings.providers.git_credentials["git.example.org"].get_secret_value() == "username=a\npassword=b"
    assert settings.origins["providers.github_token"].text == "file named by DOCKYARD_PROVIDERS_GITHUB_TOKEN_FILE"
    with pytest.raises(Misconfigured, match=r"providers\.github_token: its file /nowhere cannot be read"):
        load({"DOCKYARD_PROVIDERS_GITHUB_TOKEN_FILE": "/nowhere"})
