"""What a reader of a label format returns, before sizes are known and labels are checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poseloop_training.image_source import ImageReference
from poseloop_training.problems import Problem

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One labelled image: float32 ``(animals, keypoints, 2)``, x and y in pixels, NaN where unlabelled."""

    image: ImageReference
    keypoints: NDArray[np.float32]


def labelled_mask(keypoints: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of ``(..., 2)`` are labelled, without the last axis: both coordinates are numbers."""
    return np.asarray(np.isfinite(keypoints[..., 0]) & np.isfinite(keypoints[..., 1]))


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one project or file, in the file's own order of rows and keypoints.

    Attributes:
        skeleton: edges between keypoints, by name.
        swap_pairs: keypoints that a mirror exchanges, or None where the format does not say.
        problems: what the reader noticed and had to leave out.
    """

    name: str
    keypoint_names: tuple[str, ...]
    skeleton: tuple[Pair, ...]
    swap_pairs: tuple[Pair, ...] | None
    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...] = ()
