"""Which frames of a video to label: at random all over it, or one of each kind, as DeepLabCut draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["kmeans", "uniform"]
# DeepLabCut's: frames are compared at this width.
THUMBNAIL_WIDTH: Final = 30
KMEANS_ROUNDS: Final = 50
# Of a longer video every second, third ... frame is looked at, so that an hour takes about a minute.
MOST_COMPARED: Final = 10_000


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 RGB ``(height, width, 3)`` as a small grey image, flattened."""
    import cv2

    height, width = rgb.shape[:2]
    size = THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * height / width))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(axis=2).round(), dtype=np.uint8).ravel()


def choose_uniform(candidates: Sequence[int], count: int, seed: int) -> list[int]:
    """Return up to ``count`` of the candidates, drawn at random without repeating, in rising order."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.asarray(candidates), min(count, len(candidates)), replace=False)
    return sorted(int(index) for index in chosen)


def choose_kmeans(
    candidates: Sequence[int],
    thumbnails: NDArray[np.uint8],
    count: int,
    seed: int,
    best: Callable[[Sequence[int]], int] | None = None,
) -> list[int]:
    """Return up to ``count`` of the candidates, one of each cluster of frames that look alike, in rising order.

    Args:
        candidates: frames.
        thumbnails: of the candidates, ``(candidates, pixels)``.
        count: how many.
        seed: decides the clusters, and which frame of a cluster.
        best: given the frames of a cluster returns the one to take; drawn at random, as DeepLabCut does, if None.
    """
    if len(candidates) <= count:
        return sorted(candidates)
    rng = np.random.default_rng(seed)
    clusters = _clusters(thumbnails, count, seed)
    chosen = []
    for cluster in np.unique(clusters):
        members = [candidates[place] for place in np.flatnonzero(clusters == cluster).tolist()]
        chosen.append(best(members) if best is not None else int(rng.choice(members)))
    return sorted(chosen)


def _clusters(thumbnails: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.int_]:
    """Return the cluster of each thumbnail; fewer than ``count`` where thumbnails are equal."""
    import cv2

    data = thumbnails.astype(np.float32)
    data -= data.mean(axis=0)
    if len(np.unique(thumbnails, axis=0)) <= count:
        return np.asarray(np.unique(thumbnails, axis=0, return_inverse=True)[1]).ravel()
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, KMEANS_ROUNDS, 1e-3)
    first = np.zeros((len(data), 1), dtype=np.int32)  # not used with these centres, and asked for
    return np.asarray(cv2.kmeans(data, count, first, stop, 1, cv2.KMEANS_PP_CENTERS)[1], dtype=int).ravel()
