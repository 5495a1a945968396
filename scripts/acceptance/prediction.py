"""Poses predicted two frames ahead, beside the last pose held, on real movement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.offline import run as run_stages
from poseloop_server.stages.prediction import Prediction, PredictionConfig

from acceptance.figures import Figure, Places, run

FRAMES_AHEAD = 2
LEAST_GAIN_PERCENT = 25.0
MOST_LOSS_PERCENT = 5.0

# An animal moves from a quarter of its body length a second on, some 2 cm/s of a mouse, and rests below it. Its speed
# is the mean of its keypoints', each from its mean over 100 ms before the frame to that over 100 ms after it.
MOVES_BODY_LENGTHS_PER_S = 0.25
MEAN_S = 0.1
CONFIDENCE = 0.5
LEAST_FRAMES = 30  # fewer are told, but prove nothing
# Of the filter that shows what can be reached: steps between poses that it sees, and rounds of its fit.
BOUND_STEPS, BOUND_ROUNDS = 7, 100

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One animal's poses, ``(frames, keypoints, 3)``, at even times; the later pose is the truth of the earlier."""

    name: str
    fps: float
    size: tuple[int, int]
    keypoints: tuple[str, ...]
    body: tuple[str, str]
    poses: Array

    @property
    def points(self) -> Array:
        """``(frames, keypoints, 2)``: NaN where not seen."""
        seen = np.nan_to_num(self.poses[:, :, 2:]) >= CONFIDENCE
        return np.where(seen, self.poses[:, :, :2], np.nan)

    @property
    def moves(self) -> NDArray[np.bool_]:
        """``(frames,)``, from the poses before and after each frame."""
        return self._speed() >= MOVES_BODY_LENGTHS_PER_S

    def _speed(self) -> Array:
        first, last = (self.points[:, self.keypoints.index(name)] for name in self.body)
        body_length = np.nanmedian(np.linalg.norm(first - last, axis=1))
        width = max(1, round(MEAN_S * self.fps))
        margin = np.full((width, len(self.keypoints), 2), np.nan)
        padded = np.concatenate([margin, self.points, margin])
        frames = len(self.points)
        before = mean_of([padded[shift : shift + frames] for shift in range(width)])
        after = mean_of([padded[width + 1 + shift :][:frames] for shift in range(width)])
        moved = np.linalg.norm(after - before, axis=2) * self.fps / (width + 1)
        return np.nan_to_num(mean_of(list(moved.T))) / body_length

    def predicted(self) -> Array:
        """``(frames, keypoints, 2)``: what the stage, with its defaults, says of two frames later."""
        stage = Prediction(PredictionConfig(), StageContext(self.name, self.keypoints))
        times = np.arange(len(self.poses)) / self.fps
        horizon_ms = 1000 * FRAMES_AHEAD / self.fps
        return run_stages([stage], times, self.poses, self.size, self.keypoints, latency_ms=horizon_ms)[:, :, :2]


def prediction(places: Places) -> list[Figure]:
    """Predict each keypoint two frames on; the first half of each recording served to choose the stage's defaults."""
    figures = []
    for recording in (mouse(places), *flies(places)):
        later, now = recording.points[FRAMES_AHEAD:], recording.points[:-FRAMES_AHEAD]
        errors = np.linalg.norm(recording.predicted()[:-FRAMES_AHEAD] - later, axis=2)
        held = np.linalg.norm(now - later, axis=2)
        moves = recording.moves[:-FRAMES_AHEAD]
        half = np.arange(len(moves)) < len(moves) / 2
        for part, frames in (("first half", half), ("second half", ~half)):
            name = f"{recording.name}, {part}"
            figures += compared(name, recording.keypoints, errors, held, frames, moves)
            if (frames & moves).any():
                figures.append(
                    Figure(f"{name}, moving: a filter fitted to them", fitted(recording, frames & moves), "%")
                )
    return figures


def compared(
    name: str,
    keypoints: tuple[str, ...],
    errors: Array,
    held: Array,
    frames: NDArray[np.bool_],
    moves: NDArray[np.bool_],
) -> list[Figure]:
    """Return by how many percent the mean errors lie below those of holding, in movement and at rest."""
    both = np.isfinite(errors) & np.isfinite(held)
    figures = []
    for state, chosen in (("moving", frames & moves), ("resting", frames & ~moves)):
        if not chosen.any():
            continue
        at_least = LEAST_GAIN_PERCENT if state == "moving" else -MOST_LOSS_PERCENT
        limit = {"at_least": at_least} if chosen.sum() >= LEAST_FRAMES else {}
        figures.append(Figure(f"{name}, {state}: frames", float(chosen.sum())))
        used = both & chosen[:, None]
        figures.append(Figure(f"{name}, {state}: below holding", gain(errors[used], held[used]), "%", **limit))
        for index, keypoint in enumerate(keypoints):
            column = used[:, index]
            better = gain(errors[column, index], held[column, index])
            figures.append(Figure(f"{name}, {state}: {keypoint}", better, "%", **limit))
    return figures


def fitted(recording: Recording, frames: NDArray[np.bool_]) -> float:
    """Return by how many percent the best linear filter is nearer than holding, fitted to the frames it is judged on.

    It weighs the last steps of the keypoint and those of the whole body alike for all keypoints, and has the least mean
    distance (by iteratively reweighted least squares). No such filter that had to be known beforehand can be better.
    """
    points = recording.points
    steps = np.diff(points, axis=0)  # steps[t] leads from pose t to pose t + 1
    body = np.broadcast_to(mean_of(list(steps.swapaxes(0, 1)))[:, None], steps.shape)
    chosen = np.flatnonzero(frames)
    chosen = chosen[chosen >= BOUND_STEPS]
    seen = [part[chosen - back] for part in (steps, body) for back in range(1, BOUND_STEPS + 1)]
    features = np.stack(seen, axis=-1).reshape(-1, 2, len(seen))
    moved = (points[chosen + FRAMES_AHEAD] - points[chosen]).reshape(-1, 2)
    known = np.isfinite(features).all((1, 2)) & np.isfinite(moved).all(1)
    features, moved = features[known], moved[known]
    weights = np.zeros(len(seen))
    for _ in range(BOUND_ROUNDS):
        root = np.sqrt(1 / np.maximum(np.linalg.norm(moved - features @ weights, axis=1), 1e-3))[:, None]
        weighed = (features * root[:, :, None]).reshape(-1, len(seen))
        weights = np.linalg.lstsq(weighed, (moved * root).reshape(-1), rcond=None)[0]
    return gain(np.linalg.norm(moved - features @ weights, axis=1), np.linalg.norm(moved, axis=1))


def mean_of(parts: list[Array]) -> Array:
    """Return the mean of what is not NaN; NaN where all is."""
    there = np.isfinite(parts).sum(axis=0)
    return np.where(there > 0, np.nansum(parts, axis=0) / np.maximum(there, 1), np.nan)


def gain(errors: Array, held: Array) -> float:
    """Return by how many percent the mean of errors is below that of holding; 0 where nothing moved at all."""
    if not len(held) or held.sum() == errors.sum():
        return 0.0
    return float(100 * (1 - errors.sum() / held.sum())) if held.sum() > 0 else -np.inf


def mouse(places: Places) -> Recording:
    """The mouse of openfield's video, as the model of `accuracy` tracks it."""
    import pandas as pd

    table = places.work / "track.h5"
    if not table.exists() or table.stat().st_mtime < places.model.stat().st_mtime:
        run("track", places.video, "--model", places.model, "--output", table, "--force")
    tracked = pd.read_hdf(table)
    names = tuple(dict.fromkeys(tracked.columns.get_level_values("bodyparts")))
    poses = tracked.to_numpy(np.float64).reshape(len(tracked), -1, 3)
    return Recording("mouse", 30.0, (640, 480), names, ("snout", "tailbase"), poses)


def flies(places: Places) -> list[Recording]:
    """The two labelled flies, each by itself."""
    import sleap_io

    labels = sleap_io.load_slp(str(places.data / "flies/flies.slp"), open_videos=False)
    names = tuple(node.name for node in labels.skeletons[0].nodes)
    points = labels.numpy().astype(np.float64)
    confidence = np.isfinite(points[..., :1]).astype(np.float64)
    poses = np.concatenate([points, confidence], axis=3)
    return [
        Recording(f"fly {number + 1}", 25.0, (1024, 1024), names, ("head", "abdomen"), poses[:, number])
        for number in range(poses.shape[1])
    ]
