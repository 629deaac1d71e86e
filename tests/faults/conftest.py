"""A directory for a site."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import watch


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests an owner of rows may get no time for a while; the bench has the machine for itself."""
    monkeypatch.setattr(watch, "OLD", 300.0)
    monkeypatch.setattr(watch, "ALONE", 120.0)
    monkeypatch.setattr(watch, "WAITING", 300.0)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="df-") as found:
        yield Path(found)
