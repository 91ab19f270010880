"""A mirror tries again, waits longer and longer, and never keeps the search waiting."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from optimizer.tracking import BackgroundMirror


class FakeMirror(BackgroundMirror):
    def __init__(self, left: int, failures: int = 0, first_wait: float = 0.01) -> None:
        super().__init__("fake", first_wait=first_wait)
        self.left = left
        self.failures = failures
        self.tried: list[float] = []
        self.hangs = threading.Event()
        self.goes_on = threading.Event()
        self.ended = False

    def pending(self) -> int:
        return self.left

    def _work(self) -> bool:
        self.tried.append(time.monotonic())
        if self.hangs.is_set():
            self.goes_on.wait(30)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("refused")
        if not self.left:
            return False
        self.left -= 1
        return True

    def _end(self) -> None:
        self.ended = True


@pytest.fixture
def fake() -> Iterator[FakeMirror]:
    mirror = FakeMirror(left=3)
    yield mirror
    mirror.goes_on.set()
    mirror.stop()


def test_catching_up_copies_all(fake: FakeMirror) -> None:
    assert fake.catch_up(10) == 0
    fake.stop()
    assert fake.ended


def test_a_failure_is_tried_again_and_forgotten(fake: FakeMirror, caplog: pytest.LogCaptureFixture) -> None:
    fake.failures = 4
    with caplog.at_level(logging.WARNING):
        assert fake.catch_up(10) == 0
    fake.stop()
    assert fake.last_error is None
    assert [record.getMessage() for record in caplog.records] == [
        "fake: ConnectionError: refused (the search goes on; this is tried again later)"
    ]


def test_waits_grow(fake: FakeMirror) -> None:
    fake.failures = 5
    fake.catch_up(10)
    waits = [later - earlier for earlier, later in zip(fake.tried, fake.tried[1:6], strict=False)]
    assert all(wait >= 0.01 * 2**power for power, wait in enumerate(waits[:5]))


def test_news_do_not_shorten_the_wait_after_a_failure() -> None:
    mirror = FakeMirror(left=1, failures=1, first_wait=60)
    mirror.start()
    while not mirror.last_error:
        time.sleep(0.01)
    for _ in range(20):
        mirror.notify()
    time.sleep(0.1)
    assert len(mirror.tried) == 1
    assert mirror.catch_up(10) == 0  # but the end of a search does
    mirror.stop()


def test_a_hanging_server_costs_the_given_time_only(fake: FakeMirror) -> None:
    fake.hangs.set()
    began = time.monotonic()
    fake.start()
    fake.notify()
    assert time.monotonic() - began < 5
    assert fake.catch_up(0.2) == 3
    fake.stop(0.2)
    assert time.monotonic() - began < 5
    assert not fake.ended


def test_news_are_seen_at_once(fake: FakeMirror) -> None:
    assert fake.catch_up(10) == 0
    fake.left = 1
    fake.notify()
    deadline = time.monotonic() + 3  # sooner than the next look without news
    while fake.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.left == 0
