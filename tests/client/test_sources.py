from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np
import poseloop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.arena import Arena, ArenaSettings
from poseloop.pacing import Schedule
from poseloop.types import PixelFormat


class Clock:
    """Time that passes only by sleeping and by being told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(work=st.lists(st.floats(0, 0.4), max_size=50), fps=st.floats(1, 100))
def test_a_schedule_gives_one_frame_an_interval_however_late_they_come(work: list[float], fps: float) -> None:
    clock = Clock()
    schedule = Schedule(fps, clock, clock.sleep)
    schedule.wait()
    start, last_interval = clock.now, 0
    for seconds in work:
        begun = clock.now
        clock.now += seconds
        schedule.wait()
        interval = math.floor((clock.now - start) * fps + 1e-6)
        assert interval > last_interval, "frames are never bunched"
        assert clock.now - begun <= seconds + 1 / fps + 1e-6, "nobody waits longer than an interval"
        last_interval = interval


def test_a_schedule_does_not_drift() -> None:
    clock = Clock()
    schedule = Schedule(30.0, clock, clock.sleep)
    for _ in range(3001):
        schedule.wait()
        clock.now += 0.004
    assert clock.now == pytest.approx(100.0 + 100.0 + 0.004)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for k in range(5):
        writer.write(np.full((48, 64, 3), (10, 100, 40 * k), np.uint8))
    writer.release()
    return path


def test_a_video_is_sent_as_opencv_has_it(video: Path) -> None:
    with poseloop.open_source(str(video), speed="max") as source:
        frames = list(source)
    assert len(frames) == 5
    assert {frame.format for frame in frames} == {PixelFormat.BGR8}
    assert np.abs(frames[3].image.mean(axis=(0, 1)) - (10, 100, 120)).max() < 3
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps)


def test_a_video_keeps_its_own_rate_unless_told(video: Path) -> None:
    with poseloop.open_source(str(video)) as source:
        assert source.frames_per_second == 25.0
    with poseloop.open_source(str(video), fps=50) as source:
        stamps = [frame.captured_ns for frame in source]
        assert source.frames_per_second == 50
    assert stamps[-1] - stamps[0] >= 4 * 20_000_000 - 1_000_000


def test_a_loop_begins_again(video: Path) -> None:
    with poseloop.open_source(str(video), speed="max", loop=True) as source:
        frames = list(islice(source, 12))
    assert np.array_equal(frames[0].image, frames[5].image)
    assert np.array_equal(frames[1].image, frames[11].image)


def test_a_loop_over_a_file_that_is_gone_ends_with_a_sentence(video: Path) -> None:
    with poseloop.open_source(str(video), speed="max", loop=True) as source:
        frames = iter(source)
        for _ in range(7):
            next(frames)
        video.write_bytes(b"")  # which every system allows while it is read
        with pytest.raises(poseloop.InvalidInputError, match="gives no more frames"):
            list(islice(frames, 1000))


def test_the_synthetic_source_is_the_arena_frame_by_frame() -> None:
    with poseloop.open_source("synthetic:128x96@30?seed=3&color=rgb", speed="max") as source:
        frames = list(islice(source, 3))
    arena = Arena(ArenaSettings(width=128, height=96, frames_per_second=30, seed=3, color="rgb"))
    assert {frame.format for frame in frames} == {PixelFormat.RGB8}
    for k, frame in enumerate(frames):
        assert np.array_equal(frame.image, arena.frame(k))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nothing.mp4", "no such video file"),
        ("synthetic:?sed=3", "did you mean seed"),
        ("synthetic:?seed=three", "seed must be a number"),
        ("synthetic:big", "can't be understood"),
        ("synthetic:1x1", "width must lie between"),
        ("camera:0?heigt=4", "did you mean height"),
        ("camera:963", "can't be opened"),
    ],
)
def test_sources_that_can_not_be(text: str, sentence: str) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(poseloop.InvalidInputError, match=sentence):
        poseloop.open_source(text)
    with pytest.raises(poseloop.InvalidInputError, match="frame rate"):
        poseloop.open_source(text, fps=0)


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(poseloop.InvalidInputError, match="video"):
        poseloop.open_source(str(path))
