"""What the tests of users' stages share: a file in a folder, and poses."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import numpy as np
from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import StageContext

NAMES = ("snout", "tail")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def context(folder: Path) -> StageContext:
    return StageContext("cam0", NAMES, str(folder))


def pose(
    number: int = 0, points: object = ((10, 20, 0.9), (30, 40, 0.8)), *, fps: float = 100, latency_ms: int = 10
) -> LoopPose:
    keypoints = np.array([points], np.float32)
    captured_ns = round(number / fps * 1e9)
    return LoopPose(
        "cam0", number, captured_ns, captured_ns + latency_ms * 1_000_000, captured_ns, 320, 240, NAMES, keypoints
    )
