"""Poses and scenes for the tests of zones, kinematics and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from poseloop_server.loop.language import Names, Scene, compile_expression
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.zones import ZoneConfig

KEYPOINTS = ("snout", "neck", "left ear", "tailbase")
ZONES = {
    "corner": ZoneConfig.model_validate({"rectangle": {"left": 0, "top": 0, "right": 50, "bottom": 50}}),
    "port": ZoneConfig.model_validate({"circle": {"center": [0.5, 0.5], "radius": 0.1}, "unit": "fraction"}),
}
WIDTH, HEIGHT = 200, 100


def names(**given: Any) -> Names:
    return Names(**{"keypoints": KEYPOINTS, "zones": ZONES, **given})


def pose(
    seconds: float,
    places: Mapping[str, Sequence[float]] | None = None,
    values: Mapping[str, float] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    keypoints: tuple[str, ...] = KEYPOINTS,
) -> LoopPose:
    """Return a pose in which what has no place is missing; a place is x, y and perhaps a confidence."""
    rows = np.full((1, len(keypoints), 3), np.nan, np.float32)
    for name, place in (places or {}).items():
        rows[0, keypoints.index(name)] = (*place, 1.0)[:3]
    at = round(seconds * 1e9) + 10**15
    return LoopPose("cam", 0, at, at, at, *size, keypoints, rows, dict(values or {}))


def evaluated(text: str, poses: Iterable[LoopPose], known: Names | None = None) -> list[Any]:
    """Return an expression's value at each pose."""
    known = known or names()
    expression = compile_expression(text, known)
    scene = Scene(known)
    values = []
    for each in poses:
        scene.update(each)
        values.append(expression.evaluate(scene))
    return values
