"""How long model files take on this machine: one core each, in turns, so that what else runs meets all alike.

A turn is a row of frames. What computes these is one model, whose weights a processor's cache holds where they fit: the
first frame of a turn, which fetches them back from where another model drove them out, doesn't count.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# So long or so many runs of each, whichever is less, but a turn at least.
SECONDS_EACH, MOST_RUNS, WARM_UP_RUNS = 1.5, 100, 3
TURN = 7


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
    while not times[0] or (len(times[0]) < MOST_RUNS and time.perf_counter() < end):
        for session, spent in zip(sessions, times, strict=True):
            session.run(None, given)
            spent += [_milliseconds(session, given) for _ in range(TURN)]
    return [float(np.median(spent)) for spent in times]


def _milliseconds(session: InferenceSession, given: dict[str, NDArray[np.uint8]]) -> float:
    before = time.perf_counter()
    session.run(None, given)
    return (time.perf_counter() - before) * 1e3


def _open(model: Path) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
