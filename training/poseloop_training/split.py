"""How frames are divided into training, validation and test frames: seeded, and the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from poseloop.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of samples. The test frames are looked at once, at the end; validation chooses the best epoch."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split_frames(
    count: int,
    *,
    test: Sequence[int] | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> Split:
    """Divide ``count`` frames.

    The test frames are the first fifth of ``numpy.random.RandomState(0).permutation(count)``, whatever the seed, so
    that figures of different runs are of the same frames; validation frames are drawn from the others by the seed.

    Args:
        count: number of frames.
        test: the test frames, where they are given.
        test_fraction: part of all frames, in [0, 1); 0 for none.
        validation_fraction: part of the frames that are not for the test, in [0, 1); 0 for none.
        seed: of the validation frames.

    Raises:
        InvalidInputError: a fraction is out of range, or no frame remains to be trained on.
    """
    for name, fraction in (("test", test_fraction), ("validation", validation_fraction)):
        if not 0 <= fraction < 1:
            raise InvalidInputError(f"the {name} fraction must be at least 0 and below 1, not {fraction}")
    order = np.random.RandomState(0).permutation(count)
    chosen = order[: _part(count, test_fraction)] if test is None else np.asarray(test, dtype=int)
    others = np.setdiff1d(np.arange(count), chosen)
    shuffled = np.random.RandomState(seed).permutation(others)
    held_out = _part(len(others), validation_fraction)
    validation, train = shuffled[:held_out], shuffled[held_out:]
    if len(train) == 0:
        raise InvalidInputError(
            f"{count} frames with {len(chosen)} for the test and {len(validation)} for validation leave none to train "
            "on; label more frames, or hold out fewer."
        )
    return Split(tuple(map(int, train)), tuple(map(int, validation)), tuple(map(int, chosen)))


def _part(count: int, fraction: float) -> int:
    return max(1, round(count * fraction)) if fraction > 0 and count > 1 else 0
