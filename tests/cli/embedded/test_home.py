"""The home: secrets, the short directory for sockets, one `up` at a time, and its refusals."""

import errno
import os
import stat
from pathlib import Path

import pytest

from cli.embedded.home import SOCKET_BYTES, hold, open_home, unwritable
from services.errors import Misconfigured


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    secret = home.secret("key")
    assert len(bytes.fromhex(secret)) == 32
    assert open_home(tmp_path / "home").secret("key") == secret
    assert home.secret("other") != secret
    assert stat.S_IMODE((home.path / "secret/key").stat().st_mode) == 0o600
    assert stat.S_IMODE((home.path / "secret").stat().st_mode) == 0o700


def test_nothing_above_the_home_changes(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir(mode=0o700)
    open_home(above / "home")
    assert stat.S_IMODE(above.stat().st_mode) == 0o700


def test_a_long_home_has_its_sockets_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = tmp_path / ("long-" * 25)
    home = open_home(path)
    assert len(os.fsencode(home.run)) <= SOCKET_BYTES
    assert (path / "run").is_symlink()
    assert (path / "run").resolve() == home.run
    assert open_home(path).run == home.run
    for directory in sorted(home.run.iterdir()):
        directory.rmdir()
    home.run.rmdir()


def test_one_up_at_a_time(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    with hold(home):
        with pytest.raises(Misconfigured) as refused:
            hold(home)
        assert refused.value.sentence == f"Dockyard is running on the home {home.path} already (process {os.getpid()})."
    hold(home).close()


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "The disk of /home is full."),
    (errno.EDQUOT, "The disk of /home is full."),
    (errno.EROFS, "cannot be written (Read-only file system)"),
])
def test_refused_writes_have_a_sentence(number: int, words: str) -> None:
    assert words in unwritable(Path("/home"), OSError(number, os.strerror(number))).sentence


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="cannot be written"):
        open_home(tmp_path / "file/home")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(Misconfigured, match=r"cannot be written \(Permission denied\)"):
        open_home(tmp_path / "home")
