"""Runs a model file on images, with ONNX Runtime and nothing between, for evaluation and the parity check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec


class ModelRunner:
    """An open model file.

    Attributes:
        spec: the description inside it.
    """

    def __init__(self, path: Path) -> None:
        """Open a model file on the CPU.

        Raises:
            InvalidInputError: it does not exist, is no ONNX file, or was not exported by poseloop.
        """
        import onnxruntime

        if not path.is_file():
            raise InvalidInputError(f"{path} does not exist; give a model made by `poseloop train`.")
        errors = _runtime_errors()
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except errors as error:
            reason = str(error).splitlines()[0]
            raise InvalidInputError(
                f"{path} can't be opened as an ONNX model ({reason}); give a model made by `poseloop train`."
            ) from None
        self.spec = ModelSpec.from_metadata(self._session.get_modelmeta().custom_metadata_map, str(path))
        self._path = path
        self._fixed_shape = self._session.get_inputs()[0].shape

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return float32 ``(images, animals, keypoints, 3)`` for uint8 ``(height, width, channels)`` of one size.

        Raises:
            InvalidInputError: the graph was exported for another size, or fails.
        """
        frames = np.stack(images)
        batch, *wanted = self._fixed_shape
        for axis, (name, size) in enumerate(zip(("height", "width", "channels"), wanted, strict=True), 1):
            if isinstance(size, int) and size != frames.shape[axis]:
                raise InvalidInputError(
                    f"{self._path.name} takes images of {name} {size} only, and these have {frames.shape[axis]}; use "
                    "frames of its native size, or export it with a dynamic size."
                )
        step = batch if isinstance(batch, int) else len(frames)
        parts = [self._run(frames[start : start + step]) for start in range(0, len(frames), step)]
        return np.concatenate(parts)

    def order_of(self, keypoint_names: Sequence[str]) -> list[int]:
        """Return where each of these keypoints stands in the model's output.

        Raises:
            InvalidInputError: the model lacks one.
        """
        missing = [name for name in keypoint_names if name not in self.spec.keypoints]
        if missing:
            raise InvalidInputError(
                f"the model {self.spec.name!r} does not know {', '.join(map(repr, missing))}, which this dataset "
                f"labels; it has {', '.join(self.spec.keypoints)}: evaluate it on a dataset of its own keypoints."
            )
        return [self.spec.keypoints.index(name) for name in keypoint_names]

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            output: Any = self._session.run(["keypoints"], {"frames": frames})[0]
        except _runtime_errors() as error:
            reason = str(error).splitlines()[0]
            size = f"{frames.shape[2]}x{frames.shape[1]}"
            raise InvalidInputError(
                f"{self._path.name} fails on images of {size} ({reason}); export it again with `poseloop export`."
            ) from None
        return np.asarray(output, dtype=np.float32)


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's own exceptions, which share no base class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
