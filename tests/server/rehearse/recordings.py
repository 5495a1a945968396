"""Recordings whose animal is known: it walks along x, ten pixels a frame, and what it should do can be told by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import numpy as np
from numpy.typing import NDArray
from poseloop.types import DecodeSpec, ModelSpec
from poseloop_server.loop.config import LoopConfig, load_loop
from poseloop_server.rehearse.recording import RecordedPose, Timing

NAMES = ("snout", "tail")
SIZE = (320, 240)

RULE = """\
    experiment: walk
    record: off
    outputs:
      laser: {type: serial, port: /dev/nowhere}
    streams:
      cam0:
        zones:
          middle: {rectangle: {left: 100, top: 0, right: 200, bottom: 239}}
        triggers:
          entered:
            when: snout in middle
            on_rise: {laser: {pulse_ms: 10}}
            on_fall: {laser: {pulse_ms: 20}}
"""


class Walk:
    """The animal's snout is at the given x, one pose a frame; its tail 30 pixels behind."""

    description = "a walk"
    keypoints = NAMES
    has_images = False

    def __init__(self, xs: Sequence[float], fps: float = 100.0, latency_ns: int = 10_000_000) -> None:
        self.frames = len(xs)
        self._timing = Timing(fps, latency_ns)
        self._poses = poses(xs)

    def remarks(self) -> list[str]:
        return []

    def __iter__(self) -> Iterator[RecordedPose]:
        for frame, keypoints in enumerate(self._poses):
            yield RecordedPose(frame, *self._timing.of(frame), *SIZE, keypoints)


def poses(xs: Sequence[float]) -> NDArray[np.float32]:
    """``(frames, 1, 2, 3)``."""
    return np.array([[[(x, 50, 0.9), (x - 30, 50, 0.8)]] for x in xs], np.float32)


def rule(folder: Path, *changes: tuple[str, str], name: str = "rule.yaml") -> LoopConfig:
    """Load the configuration above, with parts of its text changed."""
    return load_loop(write_rule(folder, *changes, name=name))


def write_rule(folder: Path, *changes: tuple[str, str], name: str = "rule.yaml") -> Path:
    text = dedent(RULE)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def spec(names: Sequence[str] = NAMES, animals: int = 1) -> ModelSpec:
    """The description of a model with these keypoints."""
    return ModelSpec(
        name="walker",
        keypoints=list(names),
        color="gray",
        native_width=SIZE[0],
        native_height=SIZE[1],
        max_animals=animals,
        decode=DecodeSpec(kind="foreign", input_scale=1.0, stride=1),
    )
