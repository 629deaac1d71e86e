"""The table of `up`: what is started for which settings, and what the parts are told."""

from pathlib import Path

import pytest

from cli.embedded.home import open_home
from cli.embedded.parts import Plan, make_plan
from services.settings import load

OURS = {"api", "worker", "launcher", "reaper", "migrations", "forge"}
REAL = {
    "DOCKYARD_DATABASE_URL": "postgresql+asyncpg://db/d", "DOCKYARD_REDIS_URL": "redis://redis/0",
    "DOCKYARD_HUB_URL": "http://hub:8081/hub/api/", "DOCKYARD_HUB_PUBLIC_URL": "https://hub.example.org/",
}


def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], **flags: str) -> Plan:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    flags = {key.replace("__", "."): value for key, value in flags.items()}
    return make_plan(load(flags=flags), open_home(tmp_path / "home"), None, flags)


@pytest.mark.parametrize(("environ", "further"), [
    ({}, {"postgres", "valkey", "proxy", "hub", "egress"}),
    (REAL, {"egress"}),
    ({"DOCKYARD_REDIS_URL": "redis://redis/0"}, {"postgres", "proxy", "hub", "egress"}),
    ({"DOCKYARD_RUNTIME_NAME": "fake"}, {"postgres", "valkey", "proxy", "hub"}),
])
def test_what_has_an_address_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], further: set[str],
) -> None:
    assert {part.name for part in plan(tmp_path, monkeypatch, environ).parts} == OURS | further


def test_parts_are_told_of_each_other_but_not_over_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = plan(
        tmp_path, monkeypatch, {"DOCKYARD_AUTH_ADMIN_TOKEN": "mine-not-guessed", "DOCKYARD_EGRESS_REFUSED": "10.0.0.1"}, front__port="9000",
    ).environ
    assert told["DOCKYARD_FRONT_PORT"] == "9000"
    assert told["DOCKYARD_AUTH_ADMIN_TOKEN"] == "mine-not-guessed"
    assert told["DOCKYARD_EGRESS_REFUSED"] == '["10.0.0.1", "localhost:9000", "localhost:9001"]'
    assert told["DOCKYARD_HUB_PUBLIC_URL"] == "http://localhost:9001/"
    assert len(told["DOCKYARD_HOME_SECRET"]) == 64
    home = open_home(tmp_path / "home")
    settings = load({name: value for name, value in told.items() if name.startswith("DOCKYARD_")})
    assert settings.database.url.get_secret_value().endswith(f"@/dockyard?host={home.run / 'pg'}")
    assert settings.home.path == str(home.path)


def test_no_secret_is_in_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(tmp_path, monkeypatch, {})
    secrets = [path.read_text() for path in (tmp_path / "home/secret").iterdir()]
    assert len(secrets) >= 4
    for part in made.parts:
        if part.name not in ("postgres", "valkey"):  # these take their files from the wheel; see their own tests
            words = " ".join(part.command().argv)
            assert not any(secret in words for secret in secrets)


def test_parts_that_need_no_secret_are_told_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(tmp_path, monkeypatch, {"DOCKYARD_PROVIDERS_GITHUB_TOKEN": "ghp_of_the_operator"})
    secrets = {path.name: path.read_text() for path in (tmp_path / "home/secret").iterdir()} | {"github": "ghp_of_the_operator"}
    commands = {part.name: part.command() for part in made.parts if part.name in ("egress", "forge", "proxy", "worker")}
    known = {
        name: {key for key, secret in secrets.items() if any(secret in value for value in command.environ.values())}
        for name, command in commands.items()
    }
    assert known["egress"] == known["forge"] == set()
    assert known["proxy"] == {"proxy-token"}
    assert {"key", "postgres", "github"} <= known["worker"]
