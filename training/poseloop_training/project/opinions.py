"""What a model says of a frame, and of the same frame shown otherwise, brought back to the frame's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import guess_format, to_model_color

from poseloop_training.model_runner import ModelRunner

Keypoints = NDArray[np.float32]

SHIFT_PX: Final = (5, 3)
# A picture with half the light, as a camera gives it: the response is about a square root.
DARKER_GAMMA: Final = 1.4


class Opinions:
    """A model of one animal, asked frame by frame.

    Attributes:
        name: of the model.

    Raises:
        InvalidInputError: the model is of several animals, or lacks a keypoint of the project.
    """

    def __init__(self, runner: ModelRunner, bodyparts: Sequence[str], *, augment: bool = False) -> None:
        if runner.spec.max_animals != 1:
            raise InvalidInputError(
                f"the model {runner.spec.name!r} is of {runner.spec.max_animals} animals, and outliers are found with "
                "models of one: give another model."
            )
        self.name = runner.spec.name
        self._runner = runner
        self._order = runner.order_of(bodyparts)
        spec = runner.spec
        self._mirrored = [spec.keypoints.index(_counterpart(name, spec.swap_pairs)) for name in spec.keypoints]
        # As in training, a mirror needs to know what it exchanges.
        self._mirrors = augment and bool(spec.swap_pairs)
        self._augment = augment

    def of(self, rgb: NDArray[np.uint8]) -> Keypoints:
        """Return float32 ``(opinions, keypoints, 3)``: of the frame itself, then of its variations."""
        image = to_model_color(rgb, guess_format(rgb), self._runner.spec.color)
        if not self._augment:
            return self._runner.predict([image])[:, 0][:, self._order]
        dx, dy = SHIFT_PX
        shown = [image, _shifted(image, dx, dy), _darker(image)]
        if self._mirrors:
            shown.append(np.ascontiguousarray(image[:, ::-1]))
        answers = self._runner.predict(shown)[:, 0]
        answers[1, :, :2] -= dx, dy
        if self._mirrors:
            answers[3] = answers[3, self._mirrored]
            answers[3, :, 0] = image.shape[1] - 1 - answers[3, :, 0]
        return answers[:, self._order]


def _counterpart(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    for left, right in pairs:
        if name in (left, right):
            return right if name == left else left
    return name


def _shifted(image: NDArray[np.uint8], dx: int, dy: int) -> NDArray[np.uint8]:
    """Return the image moved right and down; the border's pixels are repeated, so that no edge appears."""
    height, width = image.shape[:2]
    return np.pad(image, ((dy, 0), (dx, 0), (0, 0)), mode="edge")[:height, :width]


def _darker(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    levels = (255 * (np.arange(256) / 255) ** DARKER_GAMMA).round().astype(np.uint8)
    return levels[image]
