"""A save or restore that takes long says how far it is."""

import logging
import threading
from pathlib import Path

import pytest

from autodist import _log, _progress


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "AFTER_SECONDS", 0.01)
    monkeypatch.setattr(_progress, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(_progress, "EVERY_SECONDS", 3600.0)


class Said(logging.Handler):
    """Keeps messages, and waits for one that has a text in it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.messages.append(record.getMessage())
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(text in m for m in self.messages), 120)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    handler = Said()
    with caplog.at_level(logging.INFO, "autodist"):
        _log.get_logger().addHandler(handler)
        yield handler
        _log.get_logger().removeHandler(handler)


def test_a_long_save_says_each_tenth(said: Said, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m[1]")
    data = Path(f"{prefix}.data-00000-of-00001.autodist01234567-0123456789ab")
    with data.open("wb") as file, _progress.of_save(prefix):
        file.truncate(100 << 20)
        said.wait_for(f"saving {prefix}: about")
        assert "of 100.00 MiB so far" in said.messages[0]
        file.write(bytes(15 << 20))
        file.flush()
        said.wait_for("of 100.00 MiB after")


def test_a_restore_says_what_it_reads(said: Said, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(bytes(20 << 20))
    with _progress.of_restore(prefix):
        said.wait_for(f"restoring {prefix}: about")
        data.read_bytes()
        said.wait_for("of 20.00 MiB after")


def test_nothing_is_said_of_what_is_quick(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "AFTER_SECONDS", 3600.0)
    before = set(threading.enumerate())
    with _progress.of_save("m"):
        (watch,) = set(threading.enumerate()) - before
    watch.join(60)
    assert not watch.is_alive()
    assert said.messages == []


def test_nothing_is_watched_at_a_higher_level(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    with caplog.at_level(logging.WARNING, "autodist"), _progress.of_save("m"):
        assert threading.active_count() == before
