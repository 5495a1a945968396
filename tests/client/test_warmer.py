from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import poseloop
import pytest
from poseloop.pacing import Schedule
from poseloop.sender import FrameSender
from poseloop.types import Frame, PixelFormat

INTERVAL_S = 0.02
MOST_FRAMES = 1500


def warmer_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("-warm")]


def send_steadily(sender: FrameSender, image: Any) -> int:
    """Send until it was warmed up for three frames, however busy the machine is; return how many that took."""
    schedule = Schedule(1 / INTERVAL_S)
    for count in range(MOST_FRAMES):
        if sender.warm_ups >= 3:
            return count
        schedule.wait()
        sender.send(image)
    raise AssertionError("it was not warmed up")


def send_without_end(sender: FrameSender) -> None:
    schedule = Schedule(1 / INTERVAL_S)
    for _ in range(MOST_FRAMES):
        schedule.wait()
        sender.send(np.zeros((48, 64), np.uint8))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 3), np.uint8),
        Frame(np.zeros((48, 64, 3), np.uint8), 5, PixelFormat.BGR8),
    ],
    ids=["gray", "rgb", "bgr"],
)
def test_a_steady_stream_is_kept_warm_and_nothing_of_it_is_counted(server: Any, image: Any) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("cam") as sender:
        assert warmer_threads() == ["poseloop-cam-warm"]
        count = send_steadily(sender, image)
        counters = sender.close()
    assert counters.sent == count == counters.published + counters.dropped
    assert warmer_threads() == []


def test_jpegs_are_kept_warm(server: Any) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    jpeg = simplejpeg.encode_jpeg(np.zeros((48, 64, 3), np.uint8))
    with poseloop.connect(server.address) as connection, connection.sender("cam") as sender:
        assert send_steadily(sender, Frame(jpeg, 5, PixelFormat.JPEG)) == sender.counters.sent


def test_nothing_is_warmed_up_for_frames_that_do_not_come(server: Any) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("cam") as sender:
        send_steadily(sender, np.zeros((48, 64), np.uint8))
        time.sleep(25 * INTERVAL_S)  # longer than the row may go on without a frame
        done = sender.warm_ups
        time.sleep(10 * INTERVAL_S)
        assert sender.warm_ups == done


@pytest.mark.parametrize("options", [{"policy": "lossless"}, {"keep_warm": False}])
def test_who_is_in_no_hurry_has_no_thread_for_it(server: Any, options: dict[str, Any]) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("cold", **options) as sender:
        assert warmer_threads() == []
        sender.send(np.zeros((48, 64), np.uint8))
        assert sender.warm_ups == 0


def test_a_stream_that_was_cut_off_leaves_no_thread(make_server: Callable[..., Any]) -> None:
    ending = make_server()
    with poseloop.connect(ending.address) as connection:
        sender = connection.sender("cam", reconnect_s=0.1)
        send_steadily(sender, np.zeros((48, 64), np.uint8))
        ending.kill()
        with pytest.raises(poseloop.ServerUnavailableError):
            send_without_end(sender)
        sender.abort()
    assert warmer_threads() == []
