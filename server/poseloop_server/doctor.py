"""What `poseloop doctor` reports of the server: the providers here, how fast each runs a model, and which to use."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import PoseloopError

from poseloop_server.bundled import arena_model_path
from poseloop_server.model import PoseModel
from poseloop_server.provider_options import OpenVinoOptions, read_options
from poseloop_server.providers import PROVIDERS, Provider, present

ReportLine = tuple[str, str, bool | None, str]
# Besides the default options of each.
_WORTH_TRYING = {"openvino": ("precision=bf16",), "cuda": ("cuda_graph=true",), "tensorrt": ("precision=fp16",)}
_FRAMES, _SURE = 8, 0.2
_SECONDS_EACH, _ROUNDS = 1.0, (5, 200)
_SAME_SPEED = 1.1
_SAME_PLACE_PX = 1.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How one way to run the model did.

    Attributes:
        provider: by the name that the flag takes.
        options: as the flag takes them; empty: the default ones.
        threads: CPU threads.
        device: what it runs on.
        ready_ms: from loading to ready.
        median_ms: of one frame of the native size.
        p95_ms: 95 % took no longer.
        difference_px: farthest that a keypoint lies from where one thread of the CPU sees it; None where that can't be
            told.
    """

    provider: str
    options: str
    threads: int
    device: str
    ready_ms: float
    median_ms: float
    p95_ms: float
    difference_px: float | None

    @property
    def flags(self) -> str:
        """What to start the server with."""
        options = f" --provider-options {self.options}" if self.options else ""
        return f"--provider {self.provider}{options} --threads {self.threads}"


def examine(path: Path | None = None) -> dict[str, Any]:
    """Look at the providers and time them on a model; the bundled one where none is given.

    Returns:
        ``lines`` to report, and as values for JSON: ``model``, ``timings`` and what is ``recommended``.
    """
    here = present()
    names = ", ".join(provider.name for provider in here)
    lines: list[ReportLine] = [("onnxruntime", f"{onnxruntime.__version__}, providers: {names}", True, "")]
    loaded: list[tuple[str, str, PoseModel]] = []
    for provider in PROVIDERS.values():
        if provider not in here:
            remedy = f"needs {provider.needs} and `pip install {provider.package}`"
            lines.append((f"provider {provider.name}", "not here", None, remedy))
            continue
        try:
            models = _load(provider, path or arena_model_path())
        except PoseloopError as error:
            # A wheel may bring a provider whose device this machine lacks; only the CPU has to work everywhere.
            ok = False if provider.name == "cpu" else None
            lines.append((f"provider {provider.name}", "does not run the model", ok, str(error)))
        else:
            loaded += models
            lines.append((f"provider {provider.name}", f"runs the model on {models[0][2].device}", True, ""))
    timings = _time(loaded)
    chosen = recommend(timings)
    return {
        "lines": lines,
        "model": str(path) if path else "bundled",
        "timings": [asdict(timing) for timing in timings],
        "recommended": None if chosen is None else {**asdict(chosen), "flags": chosen.flags},
    }


def recommend(timings: list[Timing]) -> Timing | None:
    """Return the fastest way to run the model that sees keypoints where the CPU sees them.

    Of those that are as fast, within 10 %, the one with the fewest threads and the plainest provider.
    """
    sound = [
        timing
        for timing in timings
        if timing.provider == "cpu" or (timing.difference_px is not None and timing.difference_px <= _SAME_PLACE_PX)
    ]
    if not sound:
        return None
    limit_ms = min(timing.median_ms for timing in sound) * _SAME_SPEED
    quick = [timing for timing in sound if timing.median_ms <= limit_ms]
    order = list(PROVIDERS)
    return min(quick, key=lambda timing: (timing.threads, order.index(timing.provider), bool(timing.options)))


def _load(provider: Provider, path: Path) -> list[tuple[str, str, PoseModel]]:
    """Load the model in each way that is worth trying on a provider."""
    loaded = []
    for text in ("", *_WORTH_TRYING.get(provider.name, ())):
        options = read_options(provider.name, text)
        on_cpu = provider.name == "cpu" or (isinstance(options, OpenVinoOptions) and options.device == "CPU")
        for threads in _thread_counts() if on_cpu else [1]:
            model = PoseModel(path, provider=provider.name, options=options, threads=threads, warm_up_runs=2)
            loaded.append((provider.name, text, model))
    return loaded


def _thread_counts() -> list[int]:
    """Return 1, 2, 4 and so on, up to the cores of this machine, and these."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return sorted({min(1 << power, cores) for power in range(cores.bit_length() + 1)})


def _time(loaded: list[tuple[str, str, PoseModel]]) -> list[Timing]:
    """Time the models in turn, so that what else the machine does meets all alike."""
    if not loaded:
        return []
    frames = _frames(loaded[0][2])
    seen = [[model.infer(frame) for frame in frames] for _, _, model in loaded]
    times: list[list[float]] = [[] for _ in loaded]
    fewest, most = _ROUNDS
    started = perf_counter()
    for done in range(most):
        if done >= fewest and perf_counter() - started > _SECONDS_EACH * len(loaded):
            break
        for (_, _, model), spent in zip(loaded, times, strict=True):
            before = perf_counter()
            model.infer(frames[done % len(frames)])
            spent.append((perf_counter() - before) * 1e3)
    return [
        Timing(
            provider=provider,
            options=options,
            threads=model.threads,
            device=model.device,
            ready_ms=model.warm_up_ms,
            median_ms=float(np.median(spent)),
            p95_ms=float(np.percentile(spent, 95)),
            difference_px=_difference(seen[0], keypoints),
        )
        for (provider, options, model), spent, keypoints in zip(loaded, times, seen, strict=True)
    ]


def _frames(model: PoseModel) -> list[NDArray[np.uint8]]:
    """Return frames of the synthetic arena in the model's size and colour, as batches of one."""
    spec = model.spec
    height, width = spec.native_height, spec.native_width
    # The arena draws nothing smaller than 64 pixels.
    arena = Arena(ArenaSettings(width=max(width, 64), height=max(height, 64), color=spec.color))
    shape = (1, height, width, spec.channels)
    images = [arena.frame(index)[:height, :width] for index in range(0, _FRAMES * 40, 40)]
    return [np.ascontiguousarray(image).reshape(shape) for image in images]


def _difference(expected: list[NDArray[np.float32]], got: list[NDArray[np.float32]]) -> float | None:
    """Return how far keypoints lie apart at most, in pixels, of those that are expected with some confidence.

    None where there are none of those, or one of them is missing.
    """
    both, other = np.concatenate(expected), np.concatenate(got)
    sure = both[..., 2] >= _SURE
    if not sure.any():
        return None
    farthest = float(np.hypot(*(both - other)[..., :2][sure].T).max())
    return None if np.isnan(farthest) else farthest
