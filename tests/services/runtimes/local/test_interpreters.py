"""Which interpreter is taken."""

import sys

import pytest

from services.runtimes.local.interpreters import Interpreter, choose, installed


def have(*versions: str) -> tuple[Interpreter, ...]:
    return tuple(Interpreter(version, f"/usr/bin/python{version}", "/usr", "/usr") for version in versions)


OURS = "{}.{}.0".format(*sys.version_info[:2])


@pytest.mark.parametrize(("there", "version", "default", "chosen"), [
    (have("3.10.1", "3.11.2"), "3.11", "", "3.11.2"),
    (have("3.10.1", "3.11.2", "3.11.9"), "3.11", "", "3.11.9"),
    (have("3.11.2", "3.11.9"), "3.11.2", "", "3.11.2"),
    (have("3.10.1", "3.12.2"), "", "", "3.10.1"),
    (have("3.10.1", "3.12.2"), "", "3.12", "3.12.2"),
    (have("3.9.1", OURS), "", "", OURS),
    (have("3.10.1"), "3.1", "", None),
    (have("3.10.1"), "3.12", "", None),
    ((), "", "", None),
])
def test_choice(there: tuple[Interpreter, ...], version: str, default: str, chosen: str | None) -> None:
    found, sentence = choose(there, version, default=default)
    assert (found.version if found else None) == chosen
    assert bool(sentence) == (chosen is None or (not version and not default))


def test_this_machine_has_at_least_the_one_we_run_on() -> None:
    assert any(one.minor == "{}.{}".format(*sys.version_info[:2]) for one in installed())
