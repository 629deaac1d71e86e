"""What a sandbox may see, as a table of bubblewrap's options."""

from pathlib import Path

import pytest

from services.runtimes.local.sandbox import ETC_FILES, HOME, Bind, Host, Overlay, Sandbox, environment, options, write_etc

HOST = Host(links={"/lib": "usr/lib", "/bin": "usr/bin"}, system=("/usr", "/lib64"), etc=("/etc/ssl/certs", "/etc/localtime"))


def made(sandbox: Sandbox) -> list[str]:
    return options(sandbox, HOST)


def pairs(found: list[str], option: str, count: int = 2) -> list[tuple[str, ...]]:
    return [tuple(found[at + 1 : at + 1 + count]) for at, word in enumerate(found) if word == option]


def test_nothing_but_the_system_is_there_without_being_named() -> None:
    found = made(Sandbox(("true",), "/etc-made"))
    assert pairs(found, "--bind") == []
    assert pairs(found, "--ro-bind") == [
        ("/usr", "/usr"), ("/lib64", "/lib64"), ("/etc/ssl/certs", "/etc/ssl/certs"), ("/etc/localtime", "/etc/localtime"),
        *((f"/etc-made/{name}", f"/etc/{name}") for name in ETC_FILES),
    ]
    assert pairs(found, "--setenv") == []
    assert "--share-net" not in found


@pytest.mark.parametrize("option", [
    ["--unshare-all"], ["--unshare-user"], ["--disable-userns"], ["--die-with-parent"], ["--new-session"], ["--clearenv"],
    ["--cap-drop", "ALL"], ["--uid", "1000"], ["--gid", "1000"], ["--proc", "/proc"], ["--dev", "/dev"],
    ["--remount-ro", "/"], ["--remount-ro", "/dev"],
])
def test_every_sandbox_is_closed(option: list[str]) -> None:
    found = made(Sandbox(("true",), "/etc-made"))
    assert any(found[at : at + len(option)] == option for at in range(len(found)))


@pytest.mark.parametrize(("sandbox", "words"), [
    (Sandbox(("x",), "/e", binds=(Bind("/a", "/srv/venv"),)), ["--ro-bind", "/a", "/srv/venv"]),
    (Sandbox(("x",), "/e", binds=(Bind("/a", HOME, writable=True),)), ["--bind", "/a", HOME]),
    (Sandbox(("x",), "/e", overlays=(Overlay("/l", "/u", "/w", HOME),)), ["--overlay-src", "/l", "--overlay", "/u", "/w", HOME]),
    (Sandbox(("x",), "/e", egress="/s/build"), ["--ro-bind", "/s/build", "/run/egress"]),
    (Sandbox(("x",), "/e", tmp="/t"), ["--bind", "/t", "/tmp"]),
    (Sandbox(("x",), "/e"), ["--size", "268435456", "--perms", "1777", "--tmpfs", "/tmp"]),
    (Sandbox(("x",), "/e", env={"A": "b c"}), ["--setenv", "A", "b c"]),
    (Sandbox(("x",), "/e", links={"/run/python": "/usr/bin/python3"}), ["--symlink", "/usr/bin/python3", "/run/python"]),
    (Sandbox(("x",), "/e", hostname="h"), ["--hostname", "h"]),
    (Sandbox(("x",), "/e", cwd="/tmp"), ["--chdir", "/tmp"]),
])
def test_what_is_named_is_there(sandbox: Sandbox, words: list[str]) -> None:
    found = made(sandbox)
    assert any(found[at : at + len(words)] == words for at in range(len(found)))


def test_a_bind_below_another_comes_after_it() -> None:
    found = made(Sandbox(("x",), "/e", binds=(Bind("/in", f"{HOME}/deep/er"), Bind("/home", HOME, writable=True))))
    assert found.index(HOME) < found.index(f"{HOME}/deep/er")


def test_the_environment_is_in_no_command_line() -> None:
    """Options travel through a descriptor; the command is the only thing that others can read in /proc."""
    sandbox = Sandbox(("jupyter", "lab"), "/e", env={"JUPYTER_TOKEN": "hush"})
    assert "hush" in made(sandbox)
    assert "hush" not in " ".join(sandbox.command)


def test_a_nul_character_cannot_smuggle_an_option() -> None:
    with pytest.raises(ValueError, match="NUL"):
        made(Sandbox(("x",), "/e", env={"A": "b\0--share-net"}))


def test_var_tmp_gives_way_to_a_bind() -> None:
    assert ("/tmp", "/var/tmp") in pairs(made(Sandbox(("x",), "/e")), "--symlink")
    assert ("/tmp", "/var/tmp") not in pairs(made(Sandbox(("x",), "/e", binds=(Bind("/p", "/var/tmp/p"),))), "--symlink")


def test_the_environment_names_the_proxy_only_where_there_is_one() -> None:
    assert environment()["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert not [name for name in environment(egress=False) if "proxy" in name.lower()]
    assert environment({"LANG": "de"})["LANG"] == "de"


def test_files_below_etc_know_only_the_sandbox_user(tmp_path: Path) -> None:
    write_etc(tmp_path / "etc")
    write_etc(tmp_path / "etc")
    accounts = [line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    assert accounts == ["root", "jovyan", "nobody"]
    written = [str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert sorted(written) == sorted(ETC_FILES)
