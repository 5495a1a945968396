"""Videos with known content, and projects on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop_training.project import Project, create_project

NAMES = ("snout", "tail")


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float = 30) -> Path:
    """Write uint8 frames, grey or RGB, without loss (FFV1)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for frame in frames:
        bgr = np.repeat(frame[:, :, None], 3, axis=2) if frame.ndim == 2 else frame[:, :, ::-1]
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), fps, bgr.shape[1::-1])
            assert writer.isOpened(), "this OpenCV writes no FFV1"
        writer.write(np.ascontiguousarray(bgr))
    assert writer is not None
    writer.release()
    return path


def spot_frames(
    spots: Sequence[tuple[int, int]], brightness: Sequence[int] | None = None, size: tuple[int, int] = (64, 48)
) -> list[NDArray[np.uint8]]:
    """Black frames with one bright pixel each, for the models of `tests.models.write_spot_model`."""
    frames = []
    for row, (x, y) in enumerate(spots):
        frame = np.zeros((size[1], size[0]), dtype=np.uint8)
        frame[y, x] = 255 if brightness is None else brightness[row]
        frames.append(frame)
    return frames


def arena_video(path: Path, frames: int, size: tuple[int, int] = (160, 120), step: int = 7) -> Arena:
    """Write a walk of the synthetic arena, every ``step``-th frame of it, and return the arena."""
    arena = Arena(ArenaSettings(width=size[0], height=size[1]))
    write_video(path, (arena.frame(index * step) for index in range(frames)))
    return arena


def new_project(folder: Path, *videos: Path, names: Sequence[str] = NAMES) -> Project:
    return create_project("reach", "Ada", names, videos, folder=folder)
