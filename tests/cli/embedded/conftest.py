"""A short `tmp_path`: pytest's own is too long for sockets, and a home there would put its sockets elsewhere in /tmp."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dockyard-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)
