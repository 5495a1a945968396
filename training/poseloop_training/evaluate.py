"""The errors of anything that predicts keypoints, on labelled frames it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import Color
from poseloop.types import TestErrors

from poseloop_training.dataset import PoseDataset
from poseloop_training.metrics import ErrorSummary, animal_extents, distances_px, summarize

# Takes uint8 (height, width, channels) images of one size, gives float32 (images, animals, keypoints, 3).
Predict = Callable[[list[NDArray[np.uint8]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class FrameError:
    """The errors of one frame: its index in the dataset, its image, its mean error and its worst keypoint."""

    index: int
    image: str
    mean_px: float
    worst_keypoint: str
    worst_px: float


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Predictions beside labels, and what follows from them.

    Attributes:
        indices: of the frames in the dataset, in the order of the arrays.
        images: their names.
        labels: float32 ``(frames, keypoints, 2)``, NaN where unlabelled.
        predictions: float32 ``(frames, keypoints, 3)``: x, y, confidence.
    """

    keypoint_names: tuple[str, ...]
    indices: tuple[int, ...]
    images: tuple[str, ...]
    labels: NDArray[np.float32]
    predictions: NDArray[np.float32]

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Which keypoints are labelled: ``(frames, keypoints)``."""
        return np.asarray(np.isfinite(self.labels[..., 0]) & np.isfinite(self.labels[..., 1]))

    @cached_property
    def labelled_frames(self) -> int:
        """How many frames have a label; the errors are of these."""
        return int(self.labelled.any(axis=1).sum())

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """Error of each keypoint in pixels, ``(frames, keypoints)``; NaN where label or prediction is missing."""
        return distances_px(self.predictions[..., :2], self.labels)

    @cached_property
    def summary(self) -> ErrorSummary:
        """Over all labelled keypoints."""
        return summarize(self.distances, self.labelled, animal_extents(self.labels))

    @cached_property
    def per_keypoint(self) -> dict[str, ErrorSummary]:
        """Of each keypoint, by its name."""
        extents = animal_extents(self.labels)
        return {
            name: summarize(self.distances[:, [k]], self.labelled[:, [k]], extents)
            for k, name in enumerate(self.keypoint_names)
        }

    def worst_frames(self, count: int) -> tuple[FrameError, ...]:
        """Return the frames with the largest mean errors, the largest first; frames without an error are left out."""
        found = []
        for row, distances in enumerate(self.distances):
            if np.isfinite(distances).any():
                worst = int(np.nanargmax(distances))
                mean = float(np.nanmean(distances))
                name = self.keypoint_names[worst]
                found.append(FrameError(self.indices[row], self.images[row], mean, name, float(distances[worst])))
        return tuple(sorted(found, key=lambda frame: -frame.mean_px)[:count])

    def test_errors(self) -> TestErrors:
        """Return what a model file says of itself; keypoints that no test frame has labelled are left out."""
        return TestErrors(
            frames=self.labelled_frames,
            mean_error_px=self.summary.mean_px,
            median_error_px=self.summary.median_px,
            rmse_px=self.summary.rmse_px,
            per_keypoint={
                name: errors.mean_px for name, errors in self.per_keypoint.items() if math.isfinite(errors.mean_px)
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values: pixels of the original images, None where nothing is labelled."""
        return {
            **_summary_json(self.summary),
            "frames": self.labelled_frames,
            "per_keypoint": {name: _summary_json(errors) for name, errors in self.per_keypoint.items()},
            "worst_frames": [
                {
                    "index": frame.index,
                    "image": frame.image,
                    "mean_error_px": frame.mean_px,
                    "worst_keypoint": frame.worst_keypoint,
                    "worst_error_px": frame.worst_px,
                }
                for frame in self.worst_frames(10)
            ],
        }


def evaluate_predictions(
    dataset: PoseDataset,
    indices: Sequence[int],
    predict: Predict,
    *,
    color: Color | None = None,
    batch_size: int = 8,
    on_progress: Callable[[int], None] = lambda _: None,
) -> EvaluationResult:
    """Predict these frames and compare with their labels.

    Args:
        dataset: of one animal a frame.
        indices: of its samples.
        predict: takes images of one size, at most ``batch_size`` at once, and gives ``(images, animals, keypoints, 3)``
            in pixels of the images, with the keypoints in the dataset's order; the first animal counts.
        color: of the images that ``predict`` takes; the dataset's own unless given.
        batch_size: how many images are held at once.
        on_progress: called with the number of frames done.

    Raises:
        InvalidInputError: the frames hold no label or several animals, or an image is damaged.
    """
    if dataset.animals != 1:
        raise InvalidInputError(
            f"{dataset.name} has up to {dataset.animals} labelled animals a frame, and models of one animal are what "
            "can be evaluated: keep the labels of one animal a frame."
        )
    keypoints = len(dataset.keypoint_names)
    labels = np.array([dataset.samples[index].keypoints[0] for index in indices], dtype=np.float32)
    if not np.isfinite(labels).any():
        raise InvalidInputError(f"none of the {len(indices)} frames to evaluate has a label; choose other frames.")
    predictions = np.empty((len(indices), keypoints, 3), dtype=np.float32)
    done = 0
    for rows in _batches_of_one_size(dataset, indices, batch_size):
        found = predict([dataset.load_image(indices[row], color) for row in rows])
        if found.ndim != 4 or found.shape[0] != len(rows) or found.shape[2:] != (keypoints, 3):
            raise ValueError(f"predict gave {found.shape} for {len(rows)} images of {keypoints} keypoints")
        predictions[rows] = found[:, 0]
        done += len(rows)
        on_progress(done)
    return EvaluationResult(
        keypoint_names=dataset.keypoint_names,
        indices=tuple(indices),
        images=tuple(dataset.samples[index].image.name for index in indices),
        labels=labels,
        predictions=predictions,
    )


def _batches_of_one_size(dataset: PoseDataset, indices: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    rows_of_size: dict[tuple[int, int], list[int]] = {}
    for row, index in enumerate(indices):
        sample = dataset.samples[index]
        rows_of_size.setdefault((sample.width, sample.height), []).append(row)
    for rows in rows_of_size.values():
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _summary_json(summary: ErrorSummary) -> dict[str, Any]:
    return {
        "mean_error_px": _number(summary.mean_px),
        "median_error_px": _number(summary.median_px),
        "rmse_px": _number(summary.rmse_px),
        "labelled_keypoints": summary.labelled,
        "missed_keypoints": summary.missed,
        "pck": {
            "radius_px": {f"{radius:g}": _number(part) for radius, part in summary.pck_radius.items()},
            "extent_fraction": {f"{fraction:g}": _number(part) for fraction, part in summary.pck_fraction.items()},
        },
    }


def _number(value: float) -> float | None:
    # JSON has no NaN.
    return value if math.isfinite(value) else None
