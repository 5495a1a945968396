"""Chooses backbone, scale and precision by what a frame takes on this machine, before a run begins.

What decides is how much network fits into the time: of all that are fast enough, the one whose fp32 form takes longest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.dataset import PoseDataset
from poseloop_training.export import write_graph
from poseloop_training.model_timing import time_models
from poseloop_training.network import NetworkConfig, PoseNetwork
from poseloop_training.quantise import quantise
from poseloop_training.settings import LEAST_SIDE, Precision, TrainSettings, animal_extent, choose_network, native_size

# What `--accurate` lets the network see of a frame at most.
ACCURATE_PIXELS = 640 * 480
WIDTHS = (64, 32)
MOST_BLOCK = 6
# To the network an animal is no smaller than this many pixels, whatever the target.
LEAST_ANIMAL_PIXELS = 24
# INT8 gains no more than this factor, so what is slower by more need not be quantised to know.
MOST_GAIN = 3.0
SECONDS_EACH = 0.4
# A machine's speed varies, and a frame shall take no longer than the target on its slower days.
SPARE = 0.9


@dataclass(frozen=True, slots=True)
class Timed:
    """A network and what a frame takes on one core here, in milliseconds."""

    config: NetworkConfig
    precision: Precision
    milliseconds: float
    fp32_milliseconds: float

    def as_settings(self) -> dict[str, Any]:
        """Return what to train with."""
        config = self.config
        return {
            "backbone": config.backbone,
            "input_scale": config.input_scale,
            "width": config.width,
            "most_stride": config.most_stride,
            "precision": self.precision,
        }

    def __str__(self) -> str:
        """Return it as a part of a sentence."""
        scale = f"1/{round(1 / self.config.input_scale)}" if self.config.input_scale < 1 else "1"
        return (
            f"{self.config.backbone} at scale {scale}, width {self.config.width}, {self.precision}: "
            f"{self.milliseconds:.1f} ms"
        )


def accurate(settings: TrainSettings, dataset: PoseDataset) -> dict[str, Any]:
    """Return the settings that spare no time in use: as much of a frame as the network can be trained on."""
    width, height = native_size(dataset)
    block = max(round((width * height / ACCURATE_PIXELS) ** 0.5), 1)
    return {"input_scale": settings.input_scale or 1 / block}


def choose(
    target_ms: float,
    settings: TrainSettings,
    given: Sequence[str],
    dataset: PoseDataset,
    image: NDArray[np.uint8],
    on_measured: Callable[[Timed], None] = lambda _: None,
) -> Timed:
    """Return what to train so that a frame takes no longer than this on one core here: a tenth less than that now.

    Args:
        target_ms: milliseconds.
        settings: of the run.
        given: those of them that were asked for and stay.
        dataset: to train on.
        image: one of its frames, in the network's colour.
        on_measured: told each network that was timed.

    Raises:
        InvalidInputError: nothing is fast enough.
    """
    native = native_size(dataset)
    best: Timed | None = None
    fastest: Timed | None = None
    for config in candidates(settings, given, dataset):
        for timed in measure(config, _precisions(settings, given), image, native, target_ms * MOST_GAIN):
            on_measured(timed)
            if fastest is None or timed.milliseconds < fastest.milliseconds:
                fastest = timed
            if timed.milliseconds <= target_ms * SPARE and (best is None or _more(timed, best)):
                best = timed
        if best is not None and config.input_scale < best.config.input_scale:
            break  # what sees even less of a frame computes less
    if best is None:
        raise InvalidInputError(
            f"nothing here takes {target_ms:g} ms a frame with a tenth of it to spare (the fastest is {fastest}); give "
            "a larger --target-ms, or smaller frames."
        )
    return best


def candidates(settings: TrainSettings, given: Sequence[str], dataset: PoseDataset) -> Iterator[NetworkConfig]:
    """Return the networks that may be trained, those that see most of a frame first."""
    width, height = native_size(dataset)
    extent, usual = animal_extent(dataset, 50), choose_network(settings, dataset)
    scales = [usual.input_scale] if "input_scale" in given else [1 / block for block in range(1, MOST_BLOCK + 1)]
    for scale in scales:
        small = min(width, height) * scale < 4 * LEAST_SIDE or 0 < extent * scale < LEAST_ANIMAL_PIXELS
        if "input_scale" not in given and (small or width * height * scale**2 > 1.01 * ACCURATE_PIXELS):
            continue
        for channels in (usual.width,) if "width" in given else WIDTHS:
            yield replace(usual, input_scale=scale, width=channels)


def measure(
    config: NetworkConfig,
    precisions: Sequence[Precision],
    image: NDArray[np.uint8],
    native: tuple[int, int],
    most_fp32_ms: float = float("inf"),
) -> list[Timed]:
    """Time a network in these precisions; its weights do not matter, so they are random.

    Args:
        config: of the network.
        precisions: fp32 and int8; CPUs gain nothing by fp16.
        image: uint8 ``(height, width, channels)``.
        native: width and height of most frames.
        most_fp32_ms: what is slower is not quantised.
    """
    with tempfile.TemporaryDirectory(prefix="poseloop-") as folder:
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        write_graph(PoseNetwork(config).eval(), image, fp32)
        (slow,) = time_models([fp32], image, SECONDS_EACH)
        found = [Timed(config, "fp32", slow, slow)] if "fp32" in precisions else []
        if "int8" in precisions and slow <= most_fp32_ms:
            model = quantise(onnx.load(str(fp32)), config.most_stride, native, [image], lambda _: 0.0, 1.0).model
            onnx.save(model, str(int8))
            quick, slow = time_models([int8, fp32], image, SECONDS_EACH)
            found.append(Timed(config, "int8", quick, slow))
    return found


def _precisions(settings: TrainSettings, given: Sequence[str]) -> tuple[Precision, ...]:
    return (settings.precision,) if "precision" in given else ("fp32", "int8")


def _more(one: Timed, other: Timed) -> bool:
    """Return whether one network is more of one; of the same, fp32 loses nothing."""
    if one.config == other.config:
        return one.precision == "fp32"
    return one.fp32_milliseconds > other.fp32_milliseconds
