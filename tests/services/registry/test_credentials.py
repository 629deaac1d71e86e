"""Credentials from settings, config.json and helpers."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from services.errors import Misconfigured
from services.registry import credentials
from services.registry.credentials import Credentials
from services.settings import RegistrySettings

AUTH = base64.b64encode(b"somebody:right").decode()
URL = "https://registry.example.org"
KNOWN = Credentials("somebody", "right")


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("config", "found"), [
    ({"auths": {"registry.example.org": {"auth": AUTH}}}, KNOWN),
    ({"auths": {"https://registry.example.org": {"auth": AUTH}}}, KNOWN),
    ({"auths": {"registry.example.org": {"username": "somebody", "password": "right"}}}, KNOWN),
    ({"auths": {"other.example.org": {"auth": AUTH}}}, Credentials()),
    ({"auths": {"registry.example.org": {"auth": AUTH, "identitytoken": "t"}}}, Credentials("somebody", "right", "t")),
    ({"credHelpers": {"registry.example.org": "yes"}}, KNOWN),
    ({"credHelpers": {"registry.example.org": "token"}}, Credentials("", "", "secret")),
    ({"credsStore": "yes"}, KNOWN),
    ({"credsStore": "none"}, Credentials()),
    ({"credHelpers": {"other": "yes"}, "auths": {}}, Credentials()),
    ({}, Credentials()),
])
async def test_a_config_is_read_as_docker_reads_it(
    config: dict[str, Any], found: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, "yes", "read host; [ $host = registry.example.org ] && echo '{\"Username\": \"somebody\", \"Secret\": \"right\"}'")
    helper(tmp_path, "token", "echo '{\"Username\": \"<token>\", \"Secret\": \"secret\"}'")
    helper(tmp_path, "none", "echo credentials not found in native keychain; exit 1")
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = RegistrySettings(url=URL, docker_config=str(tmp_path))
    assert await credentials.find(settings) == found


@pytest.mark.parametrize(("config", "word"), [
    ("{", "config.json"), ('{"auths": {"registry.example.org": {"auth": "!"}}}', "base64"),
    ('{"credsStore": "missing"}', "docker-credential-missing"), ('{"credsStore": "broken"}', "fails"),
])
async def test_what_is_wrong_is_named(config: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    helper(tmp_path, "broken", "echo nonsense; exit 1")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(Misconfigured, match=word):
        await credentials.find(RegistrySettings(url=URL, docker_config=str(tmp_path / "config.json")))


def test_an_engine_is_told_what_it_takes() -> None:
    assert KNOWN.for_engine == {"username": "somebody", "password": "right"}
    assert Credentials("", "", "secret").for_engine == {"identitytoken": "secret"}
    assert Credentials().for_engine == {}


def test_a_password_is_not_shown() -> None:
    assert "right" not in repr(KNOWN)
