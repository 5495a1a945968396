"""What the One-Euro filter brings and costs, on the synthetic arena's truth and the bundled model's real output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop_server.bundled import arena_model_path
from poseloop_server.model import PoseModel
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.kinds import STAGES
from poseloop_server.stages.offline import run

from acceptance.figures import Figure, Places

LEAST_CALMER = 3.0
MOST_LAG_MS = 5.0

SIZE = (640, 480)  # what the bundled model was made for
FRAME_RATES = (30, 60, 100)
WALKS = (21, 22)  # seeds; others served to choose the filter's defaults
SECONDS_OF_EACH = 20

# Of the animal, in body lengths a second: a keypoint that has been slower for so long is at rest, and the body walks.
RESTS_BELOW = 0.1
RESTS_FOR_S = 0.2
WALKS_BETWEEN = (1.0, 3.3)
FOUND_WITHIN = 0.1  # body lengths: a keypoint that the network mistook for another is no matter of filters

FILTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "One-Euro": ("one_euro", {}),
    "Kalman, velocity": ("kalman", {}),
    "Kalman, acceleration": ("kalman", {"motion": "acceleration"}),
    "median": ("median", {}),
}

Array = NDArray[np.float64]


def one_euro(places: Places) -> list[Figure]:
    """Compare poses with and without the filter's defaults at three frame rates, and tell what the other filters do."""
    del places
    model = PoseModel(arena_model_path())
    figures = []
    for fps in FRAME_RATES:
        walks = [Walk(model, fps, seed) for seed in WALKS]
        for name, (kind, settings) in FILTERS.items():
            passed = [walk.through(kind, settings) for walk in walks]
            jitter = np.sum([walk.jitter(poses) for walk, poses in zip(walks, passed, strict=True)], axis=0)
            lag = np.sum([walk.lag(poses) for walk, poses in zip(walks, passed, strict=True)], axis=0)
            figures += compared(f"{name} at {fps} fps", jitter, lag, held=kind == "one_euro")
    return figures


def compared(name: str, jitter: Array, lag: Array, held: bool) -> list[Figure]:
    """Return a filter's figures from sums ``(2, keypoints)``; those of each keypoint too where it is held to limits."""
    limits = ({"at_least": LEAST_CALMER}, {"at_most": MOST_LAG_MS}) if held else ({}, {})
    figures = [
        Figure(f"{name}: jitter at rest, times less", ratio(jitter.sum(axis=1)) ** 0.5, **limits[0]),
        Figure(f"{name}: lag added at walking speed", 1000 * ratio(lag.sum(axis=1)), "ms", **limits[1]),
    ]
    for index, keypoint in enumerate(Arena.keypoint_names if held else ()):
        figures += [
            Figure(f"{name}: jitter, {keypoint}", ratio(jitter[:, index]) ** 0.5),
            Figure(f"{name}: lag, {keypoint}", 1000 * ratio(lag[:, index]), "ms"),
        ]
    return figures


class Walk:
    """What the model made of one walk, beside its truth."""

    def __init__(self, model: PoseModel, fps: int, seed: int) -> None:
        arena = Arena(ArenaSettings(*SIZE, frames_per_second=fps, seed=seed))
        frames = range(SECONDS_OF_EACH * fps)
        self._poses = np.stack([model.infer(arena.frame(index)[None, :, :, None])[0, 0] for index in frames])
        self._truth = np.stack([arena.keypoints(index) for index in frames]).astype(np.float64)
        self._times = np.arange(len(self._poses)) / fps
        self._rest_frames = round(RESTS_FOR_S * fps)
        self._velocity = np.gradient(self._truth, 1 / fps, axis=0)
        self._speed = np.linalg.norm(self._velocity, axis=2) / arena.body_length_px
        self._error = self._poses[:, :, :2] - self._truth
        self._found = np.linalg.norm(self._error, axis=2) < FOUND_WITHIN * arena.body_length_px

    def through(self, kind: str, settings: dict[str, Any]) -> Array:
        """Return the errors ``(frames, keypoints, 2)`` of the poses behind a filter."""
        # Every keypoint is filtered, so that both are compared where both are there.
        config = STAGES[kind].config(confidence=0, **settings)
        stage = STAGES[kind](config, StageContext("arena", Arena.keypoint_names))
        return run([stage], self._times, self._poses, SIZE, Arena.keypoint_names)[:, :, :2] - self._truth

    def jitter(self, error: Array) -> Array:
        """Return the summed squares ``(2, keypoints)`` without and with a filter, of keypoints at rest.

        Jitter is how far the error of a pose lies from the mean of those before and after it: what trembles. What
        drifts more slowly, as a network's error does while the animal turns its head, no filter could take away.
        """
        slow = self._speed < RESTS_BELOW
        rests = [slow[shift : len(slow) - self._rest_frames + shift] for shift in range(self._rest_frames + 1)]
        used = np.zeros_like(slow)
        used[self._rest_frames :] = np.all(rests, axis=0)
        used &= self._found & np.isfinite(error[:, :, 0])
        used = used[:-2] & used[1:-1] & used[2:]
        trembling = [part[1:-1] - (part[:-2] + part[2:]) / 2 for part in (self._error, error)]
        return np.stack([np.where(used, np.square(part).sum(axis=2), 0.0).sum(axis=0) for part in trembling])

    def lag(self, error: Array) -> Array:
        """Return ``(2, keypoints)``, whose ratio is the time by which a filter puts walking keypoints behind.

        It is the delay that, times the true velocity, fits best what the filter changes, by least squares.
        """
        low, high = WALKS_BETWEEN
        body = self._speed[:, Arena.keypoint_names.index("body_centre")]
        used = ((low <= body) & (body <= high))[:, None] & self._found & np.isfinite(error[:, :, 0])
        behind = ((self._error - error) * self._velocity).sum(axis=2)
        speed = np.square(self._velocity).sum(axis=2)
        return np.stack([np.where(used, part, 0.0).sum(axis=0) for part in (behind, speed)])


def ratio(pair: Array) -> float:
    return float(pair[0] / pair[1])
