"""Celery's beat inside of a reaper: what it asks for, and that it leaves nothing behind."""

import tempfile
import threading
from pathlib import Path

import pytest

from reaper.main import _beat
from services.queue import HOUSEKEEPING, Consumer, make_app
from services.settings import Settings


def test_beat_asks_for_each_sweep_and_leaves_no_file_behind(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    app = make_app(settings.redis)
    asked, both = set[str](), threading.Event()

    def rung(*names: str) -> None:
        asked.update(names)
        if {"nudge", "cull"} <= asked:
            both.set()

    consumer = Consumer(app, HOUSEKEEPING, rung)
    consumer.start()
    beat = _beat(app, {"nudge": 0.2, "cull": 0.2})
    beat.start()
    try:
        assert both.wait(120)
    finally:
        beat.stop()
        consumer.stop()
    assert list(tmp_path.iterdir()) == []
