"""Whether frames of several streams are inferred together: decided by how long batches took at warm-up.

Of k ready streams, one inference of all makes the first pose later and may make the last one earlier. What counts is
the age of the latest pose of the round, so the sizes are chosen whose times add up to the least, and a batch has to win
by a margin, since times are noisy, and the first pose pays for it in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.errors import PoseloopError

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

MARGIN = 0.1  # a batch has to take 10 % less than its frames one by one
_RUNS = 5
_LONGEST_MS = 1000.0  # what takes longer is of no use to a live stream


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How many frames to infer together.

    Attributes:
        times_ms: of one inference by its number of frames, as measured; empty where frames are never batched.
        sizes: entry ``k - 1`` is how many of ``k`` waiting frames the next inference takes.
        largest_pixels: frames of up to so many pixels are batched, since the times do not hold for larger ones; 0 where
            batches gain nothing.
    """

    times_ms: Mapping[int, float] = field(default_factory=dict)
    sizes: tuple[int, ...] = (1,)
    largest_pixels: int = 0

    @property
    def batches(self) -> bool:
        """Whether there is any number of frames that are inferred together."""
        return max(self.sizes) > 1

    def size(self, waiting: int) -> int:
        """Return how many of ``waiting`` frames, at least one, the next inference takes."""
        return self.sizes[min(waiting, len(self.sizes)) - 1]


def plan(times_ms: Mapping[int, float], largest_pixels: int, margin: float = MARGIN) -> BatchPlan:
    """Return the plan by which the last pose of a round comes earliest.

    Args:
        times_ms: of one inference by its number of frames; holds that of 1.
        largest_pixels: of the frames that it holds for.
        margin: the share by which a batch has to be shorter than its frames one by one.
    """
    # Dearer by the margin, so that a batch is chosen only where it wins by more.
    costs = {frames: time_ms if frames == 1 else time_ms / (1 - margin) for frames, time_ms in times_ms.items()}
    best = [0.0]
    sizes: list[int] = []
    for waiting in range(1, max(costs) + 1):
        total, size = min(
            (cost + best[waiting - frames], frames) for frames, cost in costs.items() if frames <= waiting
        )
        best.append(total)
        sizes.append(size)
    return BatchPlan(dict(times_ms), tuple(sizes), largest_pixels if max(sizes) > 1 else 0)


def measure(
    infer: Infer, image: NDArray[np.uint8], most: int, prepare: Callable[[tuple[int, ...]], object] = lambda _: None
) -> BatchPlan:
    """Time batches of 2, 4, 8 ... frames, as far as they gain anything, and return the plan that follows.

    Args:
        infer: what is timed: takes uint8 ``(N, height, width, channels)`` and returns ``(N, ...)``. Where it fails on a
            batch, frames are not batched.
        image: one frame of the native size, uint8 ``(1, height, width, channels)``.
        most: the largest batch to try.
        prepare: called with the shape of each batch before it is timed.
    """
    largest_pixels = image.shape[1] * image.shape[2]
    alone_ms = 0.0
    times_ms: dict[int, float] = {}
    frames = 2
    while frames <= most and alone_ms * frames < _LONGEST_MS:
        try:
            prepare((frames, *image.shape[1:]))
            one_ms, batch_ms = _time_both(infer, image, frames)
        except PoseloopError:
            break
        alone_ms = alone_ms or one_ms
        # By the ratio, since a machine's speed drifts between one size and the next.
        times_ms[frames] = alone_ms * batch_ms / one_ms
        per_frame_before = times_ms.get(frames // 2, alone_ms) / (frames // 2)
        if times_ms[frames] / frames > per_frame_before * (1 - MARGIN):
            break
        frames *= 2
    return plan({1: alone_ms, **times_ms}, largest_pixels) if times_ms else BatchPlan()


def _time_both(infer: Infer, image: NDArray[np.uint8], frames: int) -> tuple[float, float]:
    """Return the milliseconds of one frame and of a batch, timed in turns; stacking counts as the batch's.

    The least of several, since whatever else runs only adds, such as the streams under which a model is swapped.

    Raises:
        PoseloopError: the graph fails on a batch, or does not answer for each of its frames.
    """
    alone: list[float] = []
    together: list[float] = []
    for run in range(_RUNS + 1):
        started_ns = now_ns()
        infer(image)
        between_ns = now_ns()
        answers = infer(np.stack([image[0]] * frames))
        ended_ns = now_ns()
        if len(answers) != frames:
            raise PoseloopError(f"a batch of {frames} frames is answered with {len(answers)}")
        if run:  # the first one allocates
            alone.append((between_ns - started_ns) / 1e6)
            together.append((ended_ns - between_ns) / 1e6)
    return min(alone), min(together)
