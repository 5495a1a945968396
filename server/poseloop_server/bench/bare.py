"""The bare inference: a model that runs at a rate, in a process that does nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.images import Color

from poseloop_server.bench.talk import say_ready_and_wait

# A slow model still gets a median.
_LEAST: Final = 3


class _Film(Protocol):
    def render_batches(self, color: Color) -> list[NDArray[np.uint8]]: ...


class _Bare(Protocol):
    @property
    def film(self) -> _Film: ...
    @property
    def seconds(self) -> float: ...
    @property
    def warm_up_s(self) -> float: ...
    @property
    def per_second(self) -> float: ...
    @property
    def model(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def threads(self) -> int: ...


def bare_times_ns(job: _Bare) -> list[int]:
    """Say that all is prepared, wait for the word, and return how long each inference after the warm-up took.

    The frames are in the model's colour before it starts.
    """
    from poseloop.pacing import Schedule

    from poseloop_server.model import PoseModel

    model = PoseModel(Path(job.model), provider=job.provider, threads=job.threads)
    images = job.film.render_batches(model.spec.color)
    wait: Callable[[], None] = Schedule(job.per_second).wait if job.per_second else lambda: None
    times_ns: list[int] = []
    say_ready_and_wait()
    begin_ns = started_ns = now_ns()
    index = 0
    while started_ns - begin_ns < job.seconds * 1e9 or len(times_ns) < _LEAST:
        wait()
        started_ns = now_ns()
        model.infer(images[index % len(images)])
        ended_ns = now_ns()
        if started_ns - begin_ns >= job.warm_up_s * 1e9:
            times_ns.append(ended_ns - started_ns)
        index += 1
    return times_ns
