"""Frames that are labelled twice without bearing the same name, and keypoints that lie on one another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Closer than this two keypoints of an animal were likely set by one click too many.
ONE_PLACE_PX: Final = 0.5


def pixels_hash(image: NDArray[np.uint8]) -> bytes:
    """Return a hash of an image's pixels, the same for every file format without loss."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


def equal_images(hashes: Sequence[bytes]) -> tuple[tuple[int, ...], ...]:
    """Return groups of rows whose images have the same pixels."""
    groups: dict[bytes, list[int]] = {}
    for row, digest in enumerate(hashes):
        groups.setdefault(digest, []).append(row)
    return tuple(tuple(rows) for rows in groups.values() if len(rows) > 1)


def in_one_place(keypoints: NDArray[np.float32]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (frame, animal, keypoint, keypoint) of ``(frames, animals, keypoints, 2)`` that lie on one another."""
    count = keypoints.shape[2]
    for first in range(count):
        for second in range(first + 1, count):
            apart = np.linalg.norm(keypoints[:, :, first] - keypoints[:, :, second], axis=2)
            for frame, animal in np.argwhere(apart < ONE_PLACE_PX):
                yield int(frame), int(animal), first, second
