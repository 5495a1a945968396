"""What values the tensors of a network take on frames of its own: the ranges that integers have to cover."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

Images = Sequence[NDArray[np.uint8]]
# Ranges hardly grow beyond this; a frame costs one inference.
MOST_FRAMES = 64


def tensor_ranges(model: onnx.ModelProto, kinds: Sequence[str], images: Images) -> Any:
    """Return least and largest values, as `onnxruntime.quantization` holds them.

    Args:
        model: in fp32.
        kinds: operators whose inputs and outputs are looked at.
        images: uint8 ``(height, width, channels)``, of any sizes.
    """
    with tempfile.TemporaryDirectory(prefix="poseloop-") as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(model, str(path))
        # Least and largest value: percentiles and entropy cost ten times as long and came out no better.
        calibrator = create_calibrator(
            path, list(kinds), f"{folder}/augmented.onnx", calibrate_method=CalibrationMethod.MinMax
        )
        calibrator.set_execution_providers(["CPUExecutionProvider"])
        calibrator.collect_data(_Frames(images))
        ranges = calibrator.compute_data()
        # On Windows an open file can't be removed.
        del calibrator
    return ranges


def spread_over(count: int, most: int = MOST_FRAMES) -> list[int]:
    """Return at most so many places of ``count``, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})


class _Frames(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, images: Images) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {"frames": image[None]}
