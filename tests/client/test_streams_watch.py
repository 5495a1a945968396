from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop.streams_history import PLACES, StreamNow, StreamsHistory
from poseloop.streams_view import StreamsView
from poseloop.types import Counters, Percentiles, PixelFormat, Policy, StreamInfo
from rich.console import Console

PROGRAM = [sys.executable, "-m", "poseloop.cli"]
NOTHING = Percentiles(math.nan, math.nan, math.nan, math.nan)


def stream(name: str = "cam0", session_id: int = 1, **values: Any) -> StreamInfo:
    some = Percentiles(12.3, 20.0, 123.4, 999.9)
    info = StreamInfo(
        name, "mouse", Policy.LIVE, PixelFormat.GRAY8, 640, 480, Counters(), 59.9, some, some, some, "", session_id
    )
    return replace(info, **values)


class Shown:
    """What a poller would have heard."""

    def __init__(self, streams: list[StreamNow], silent_s: float = 0.1, trouble: str = "") -> None:
        self.streams = streams
        self.silent_s = silent_s
        self.trouble = trouble
        self.has_answered = True

    def look(self) -> tuple[list[StreamNow], dict[str, float]]:
        return self.streams, {"cam9": 7.0}


def drawn(shown: Shown, width: int) -> str:
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(StreamsView("rig:50051", shown))  # type: ignore[arg-type]
    return capture.get()


def two_answers(before: Counters, after: Counters, **values: Any) -> list[StreamNow]:
    history = StreamsHistory()
    history.add([stream(counters=before, **values)], 100.0)
    history.add([stream(counters=after, **values)], 102.0)
    return history.now


def test_rates_come_from_the_accounts_of_the_last_seconds() -> None:
    history = StreamsHistory()
    for second in range(20):
        counters = Counters(sent=60 * second, dropped_outbox=second * (second > 10), dropped_mailbox=2 * second)
        history.add([stream(counters=counters)], float(second))
    (now,) = history.now
    assert now.rates.sent == pytest.approx(60)
    assert now.rates.dropped == pytest.approx({"outbox": 1, "connection": 0, "rate": 0, "mailbox": 2, "failed": 0})


def test_a_new_session_begins_anew_and_a_closed_stream_is_told_for_a_while() -> None:
    history = StreamsHistory()
    history.add([stream("a", counters=Counters(sent=1000)), stream("b", 2)], 0.0)
    history.add([stream("a", 3, counters=Counters(sent=5))], 1.0)
    (now,) = history.now
    assert math.isnan(now.rates.sent), "one account tells no rate, and another session's is no beginning"
    assert history.closed(4.0) == {"b": 3.0}
    history.add([stream("b", 4)], 5.0)
    assert set(history.closed(5.0)) == {"a"}
    history.add([], 100.0)
    history.add([], 200.0)
    assert history.closed(200.0) == {}


def test_the_queue_is_what_the_server_has_not_dealt_with() -> None:
    counters = Counters(sent=99, received=50, published=40, dropped_mailbox=6, failed=2)
    (now,) = two_answers(counters, counters)
    assert now.queue == 2


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_can_be_read(width: int) -> None:
    before = Counters(sent=1_000_000, published=900_000, dropped_outbox=100_000, failed=3)
    after = replace(before, sent=1_000_120, dropped_outbox=100_020)
    page = drawn(Shown(two_answers(before, after, name="a-camera-with-a-name-that-is-rather-long")), width)
    for figure in ("59.9", "12.3", "123.4", "outbox 100020  10.0/s", "failed 3", "1 stream", "cam9 was closed 7 s ago"):
        assert figure in page
    assert max(len(line) for line in page.splitlines()) <= width


def test_a_server_that_is_away_is_told_with_its_reason() -> None:
    page = drawn(Shown(two_answers(Counters(), Counters(sent=5)), silent_s=4.0, trouble="No server answers."), 80)
    assert "no answer for 4 s: No server answers." in page
    assert "poses/s" not in page.splitlines()[0], "what it was is not what it is"
    assert "cam0" in page


def test_a_stream_without_poses_or_frames() -> None:
    page = drawn(Shown(two_answers(Counters(), Counters(), age=NOTHING, wait=NOTHING, inference=NOTHING)), 80)
    assert "idle" in page
    assert "nan" not in page


def test_what_a_rate_limit_takes_away_is_not_wrong() -> None:
    before = Counters(sent=100, received=100)
    after = Counters(sent=220, received=220, published=20, dropped_rate=100)
    console = Console(width=80, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        shown = Shown(two_answers(before, after, max_fps=10.0, frames_per_second=10.0))
        console.print(StreamsView("rig:50051", shown))  # type: ignore[arg-type]
    page = capture.get()
    assert "rate 100  50.0/s" in page
    assert "0.0 dropped/s" in page
    assert "[1;31m" not in page, "nothing is red"


@pytest.fixture
def watching(server: Any) -> Iterator[subprocess.Popen[str]]:
    command = [*PROGRAM, "streams", "--watch", "--json", "--server", server.address]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    yield process
    process.kill()
    process.communicate()


def lines_until(process: subprocess.Popen[str], condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        document: dict[str, Any] = json.loads(line)
        if condition(document):
            return document
    raise AssertionError("it ended")


def test_json_lines_follow_a_server_away_and_back(server: Any, watching: subprocess.Popen[str]) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("watched") as sender:
        sender.send(np.zeros((48, 64), np.uint8))
        listed = lines_until(watching, lambda document: bool(document["streams"]))
        assert listed["server"] == server.address
        assert listed["streams"][0]["name"] == "watched"
        assert set(listed["streams"][0]["per_second"]["dropped"]) == set(PLACES)
    server.kill()
    assert lines_until(watching, lambda document: not document["answers"])["streams"] == []
    server.start()
    assert lines_until(watching, lambda document: document["answers"])["streams"] == []
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=30)
    assert (watching.returncode, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_q_ends_it(server: Any, wait_until: Callable[..., None]) -> None:
    import pty

    keyboard, terminal = pty.openpty()
    command = [*PROGRAM, "streams", "--watch", "--server", server.address]
    process = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        # What is typed before the program listens is thrown away.
        wait_until(lambda: os.write(keyboard, b"xq") > 0 and process.poll() is not None)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(keyboard)
        os.close(terminal)
    assert process.returncode == 0
    assert b"q ends" in output
