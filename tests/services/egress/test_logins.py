"""Logins: whose they are, what git is given, and that nothing of them is shown."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.egress.logins import Logins
from services.errors import Misconfigured
from services.settings import load

SECRET = "canary-77aa"


def logins(**settings: Any) -> Logins:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return Logins(load({f"DOCKYARD_PROVIDERS_{key.upper()}": value for key, value in values.items()}).providers)


@pytest.mark.parametrize(("provider", "url", "user"), [
    ("gh", "https://github.com/org/private", "x-access-token"),
    ("git", "https://github.com/org/private", ""),
    ("gh", "https://github.com.example.org/org/private", ""),
    ("gh", "http://github.com/org/private", ""),
    ("gl", "https://gitlab.com/group/project.git", "oauth2"),
    ("git", "https://git.example.org/x", "reader"),
    ("gitea", "https://GIT.example.org:443/x", "reader"),
    ("git", "https://git.example.org:8443/x", ""),
    ("git", "http://git.example.org/x", ""),
    ("git", "ssh://git@git.example.org/x", ""),
    ("git", "http://10.0.0.9:3000/x", "reader"),
    ("zenodo", "10.5281/zenodo.1", ""),
])
def test_whose_login_it_is(provider: str, url: str, user: str) -> None:
    text = rf"username=reader\npassword={SECRET}"
    found = logins(
        github_token=SECRET, gitlab_token=SECRET, git_credentials={"git.example.org": text, "http://10.0.0.9:3000": text},
    ).of(provider, url)
    assert (found.username if found else "") == user
    assert SECRET not in repr(found)


def test_a_client_id_is_the_user_as_in_binderhub() -> None:
    found = logins(github_token=SECRET, github_client_id="app").of("gh", "https://github.com/a/b")
    assert found is not None
    assert found.username == "app"


@pytest.mark.parametrize("entry", [
    {"git.example.org": "password=x"}, {"git.example.org": "just-a-token"}, {"git.example.org": "username=a\npassword=b\x01"},
    {"https://user:pw@git.example.org": "username=a\npassword=b"}, {"ftp://git.example.org": "username=a\npassword=b"},
])
def test_what_means_nothing_is_refused_without_being_shown(entry: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=r"providers\.git_credentials") as caught:
        logins(git_credentials=entry)
    assert "just-a-token" not in str(caught.value)


def ask(given: str, address: str, tmp_path: Path) -> str:
    """What git finds out for an address."""
    values = json.loads(given)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false"}
    protocol, _, host = address.partition("://")
    return subprocess.run(
        ["git", "-c", "credential.helper=", *values["options"], "credential", "fill"], input=f"protocol={protocol}\nhost={host}\n\n",
        capture_output=True, text=True, check=False, cwd=tmp_path, env=env | values["environment"],
    ).stdout


def test_git_is_given_it_for_that_host_alone(tmp_path: Path) -> None:
    password = f"{SECRET}%s$HOME `id`'\""
    found = logins(git_credentials={
        "http://127.0.0.1:81": f"username=a=b\npassword={password}", "git.example.org": "username=c\npassword=d",
    })
    given = found.for_sources([("git", "http://127.0.0.1:81/x.git"), ("git", "https://git.example.org/y"), ("git", "https://other.org/z")])
    assert SECRET not in json.dumps(json.loads(given)["options"])
    assert f"username=a=b\npassword={password}\n" in ask(given, "http://127.0.0.1:81", tmp_path)
    assert "password=d\n" in ask(given, "https://git.example.org", tmp_path)
    for other in ("http://127.0.0.1:82", "https://127.0.0.1:81", "http://git.example.org", "https://other.org", "https://git.example.org.evil.org"):
        assert ask(given, other, tmp_path) == ""
    assert found.for_sources([("git", "https://other.org/z")]) == ""
