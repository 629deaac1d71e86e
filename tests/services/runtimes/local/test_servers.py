"""What may be asked of a server, and what its last words become; the servers themselves are tested with the hub."""

from pathlib import Path

import pytest

from services.errors import BadRequest
from services.runtimes.local.servers import Order, Servers
from services.settings import load


def order(**change: object) -> Order:
    values: dict[str, object] = {"name": "repo-1a2b", "image": "image:1", "base_url": "/user/repo-1a2b/", "token": "secret"}
    return Order(**(values | change))  # type: ignore[arg-type]


def servers(home: Path) -> Servers:
    settings = load({"DOCKYARD_HOME_PATH": str(home)})
    return Servers(settings.home, settings.local, settings.builds)


@pytest.mark.parametrize("change", [
    {"name": ""}, {"name": "../other"}, {"name": ".hidden"}, {"name": "a/b"}, {"name": "-x"}, {"name": "A"},
    {"name": "a" * 64}, {"name": "a\n"},
    {"base_url": ""}, {"base_url": "user/"}, {"base_url": "/user/x"}, {"base_url": "/user/$(id)/"}, {"base_url": "/a b/"},
    {"token": ""}, {"image": ""},
    {"environment": {"": "x"}}, {"environment": {"1A": "x"}}, {"environment": {"A-B": "x"}}, {"environment": {"A": "\0"}},
    {"environment": {f"A{n}": "x" for n in range(65)}}, {"environment": {"A": "x" * 40_000}},
])
def test_order_that_is_not_ours_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        order(**change)


def test_token_is_neither_shown_nor_an_argument() -> None:
    assert "secret" not in repr(order())
    assert "secret" not in " ".join(order().command())


@pytest.mark.parametrize(("origins", "expected"), [
    ((), []),
    (("*",), ["--ServerApp.allow_origin=*", "--ServerApp.allow_origin_pat=.*"]),
    (("https://a.example",), [r"--ServerApp.allow_origin_pat=^(https://a\.example)$"]),
    (("https://a.example", "https://b.example"), [r"--ServerApp.allow_origin_pat=^(https://a\.example|https://b\.example)$"]),
])
def test_other_origins_as_the_settings_say(origins: tuple[str, ...], expected: list[str]) -> None:
    assert [word for word in order(origins=origins).command() if "allow_origin" in word] == expected


def test_path_of_the_socket_is_short(tmp_path: Path) -> None:
    assert len(str(servers(tmp_path).socket("a" * 63))) <= len(str(tmp_path)) + len("/run/s/") + 12 + len("/s")


def test_nothing_is_made_before_the_first_server(tmp_path: Path) -> None:
    assert servers(tmp_path).running() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("log", "shown"), [
    (b"", ""),
    (b"one\n\n\x1b[31mtwo\x1b[0m\r\n", "one\ntwo"),
    (b"\xff\x00bad\n", "\ufffdbad"),
    (b"".join(b"%d\n" % n for n in range(100)), "\n".join(str(n) for n in range(92, 100))),
    (b"x" * 1000, "x" * 300),
])
def test_last_words_can_be_shown(tmp_path: Path, log: bytes, shown: str) -> None:
    directory = tmp_path / "local/servers/repo-1a2b"
    directory.mkdir(parents=True)
    (directory / "log").write_bytes(log)
    assert servers(tmp_path).last_words("repo-1a2b") == shown


def test_name_of_a_removed_server_is_checked(tmp_path: Path) -> None:
    with pytest.raises(BadRequest):
        servers(tmp_path).remove("../../etc")
