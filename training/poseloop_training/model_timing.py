"""How long model files take on this machine: one core each, in turns, so that what else runs meets all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# So long or so many runs of each, whichever is less.
SECONDS_EACH, MOST_RUNS, LEAST_RUNS, WARM_UP_RUNS = 1.5, 100, 7, 3


def time_models(models: Sequence[Path], image: NDArray[np.uint8], seconds_each: float = SECONDS_EACH) -> list[float]:
    """Return the median time of one frame in milliseconds, of each model.

    Args:
        models: files that take the image.
        image: uint8 ``(height, width, channels)``.
        seconds_each: about how long to measure a model.
    """
    sessions = [_open(model) for model in models]
    given = {"frames": image[None]}
    for session in sessions:
        for _ in range(WARM_UP_RUNS):
            session.run(None, given)
    times: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + seconds_each * len(sessions)
    while len(times[0]) < LEAST_RUNS or (len(times[0]) < MOST_RUNS and time.perf_counter() < end):
        for session, spent in zip(sessions, times, strict=True):
            before = time.perf_counter()
            session.run(None, given)
            spent.append((time.perf_counter() - before) * 1e3)
    return [float(np.median(spent)) for spent in times]


def _open(model: Path):  # type: ignore[no-untyped-def]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
