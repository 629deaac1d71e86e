"""The commands that need no server: config, its reference, the rules of the house, the table of names."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import layout
from cli.commands.config import reference

ROOT = Path(__file__).resolve().parents[2]


def dockyard(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli", *words], cwd="/", capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "dumb"} | environ,
    )


def test_config_shows_values_and_origins_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[limits]\nstreams = 7\n[hub]\ntoken = "do-not-show"\n')
    done = dockyard(
        "config", "--config", str(file), "--set", "front.port=9000", DOCKYARD_DATABASE_URL="postgresql://u:do-not-show@h/d",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"streams = 7  # file {file}" in lines
    assert "port = 9000  # flag" in lines
    assert 'url = "***"  # environment DOCKYARD_DATABASE_URL' in lines
    assert "do-not-show" not in done.stdout


@pytest.mark.parametrize(("words", "environ", "sentence"), [
    (["config"], {"DOCKYARD_LIMITS_STREAMS": "many"}, "Setting limits.streams (environment DOCKYARD_LIMITS_STREAMS):"),
    (["config", "--set", "nothing.key=1"], {}, "Flag --set nothing.key: no such group"),
    (["up", "--set", "front.host=0.0.0.0"], {}, "Other machines reach front.host 0.0.0.0"),
    (["up", "--set", 'providers.banned=["^(?!gh/org/)"]'], {}, 'Setting providers.banned (flag): "^(?!gh/org/)" is no'),
    (["up", "--set", "front.public_url=https://binder.example.org/"], {}, "front.public_url says that others reach this server,"),
    (["up", "--runtime", "lxc"], {}, "Setting runtime.name (flag):"),
    (["up", "--home", "/dev/null/home"], {}, "The home /dev/null/home cannot be written"),
    (["db", "upgrade"], {"DOCKYARD_HOME": "/nonexistent"}, "database.url is not set and /nonexistent has no embedded database"),
    (["status", "--url", "http://127.0.0.1:9/"], {}, "http://127.0.0.1:9/:"),
])
def test_refusals_are_one_sentence(words: list[str], environ: dict[str, str], sentence: str) -> None:
    done = dockyard(*words, **environ)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_reference_has_every_setting() -> None:
    text = reference()
    assert "| `port` | whole number | `8000` | Port of pages and api. |" in text
    assert "| `token` | secret |  | API token of the service `dockyard` in the hub. |" in text


def test_the_rules_of_the_house_see_what_they_forbid(tmp_path: Path) -> None:
    package = tmp_path / "services"
    package.mkdir()
    (package / "long.py").write_text('"""A module that is too long."""\n' + "x = 1\n" * 300)
    (package / "silent.py").write_text("x = 1\n")
    (tmp_path / "requirements.txt").write_text("--index-url https://example.org\na==1 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    (tmp_path / "deploy/hub/proxy").mkdir(parents=True)
    (tmp_path / "deploy/hub/proxy/package-lock.json").write_text('{"resolved": "https://example.org"}')
    assert layout.short_files(tmp_path) == ["services/long.py has 301 lines; 300 are allowed."]
    assert layout.docstrings(tmp_path) == ["services/silent.py does not say what it is for."]
    assert len(layout.clean_locks(tmp_path)) == 2
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["A", "uv[x]>1; python_version > \'3\'"]\n')
    assert layout.complete_lock(tmp_path) == ["requirements.txt does not pin uv: run ./dockyard lock"]
    assert layout.current_reference(tmp_path) != []
