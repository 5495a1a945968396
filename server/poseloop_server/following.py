"""Dynamic crop on images: what a `Follower` wants to see is cut out of the frame and given to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from poseloop.crop import Crop, CropView
from poseloop.errors import InvalidInputError
from poseloop.images import Color, to_model_color
from poseloop.types import ModelSpec, PixelFormat

from poseloop_server.window import Follower, View

if TYPE_CHECKING:
    from poseloop_server.model import PoseModel

# From which on a keypoint counts as seen: more likely right than not; where confidence is not calibrated, far above
# what networks say of frames without the animal (docs/crop.md).
CALIBRATED, UNCALIBRATED = 0.5, 0.3

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Pixels(NamedTuple):
    """A whole frame, not yet of the model's colour.

    Attributes:
        image: uint8 ``(height, width)`` or ``(height, width, channels)``.
        format: GRAY8, RGB8 or BGR8.
    """

    image: NDArray[np.uint8]
    format: PixelFormat

    def part(self, view: View, color: Color) -> NDArray[np.uint8]:
        """Return what a view shows, C-contiguous ``(height, width, channels)`` of a model's colour."""
        image = self.image[view.y : view.y + view.height, view.x : view.x + view.width]
        if view.is_reduced:
            import cv2

            size = (view.image_width, view.image_height)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        return np.ascontiguousarray(to_model_color(image, self.format, color))


class Following:
    """Finds one animal in the frames of one stream; frames have to come in their order.

    Args:
        crop: the window.
        spec: of the model.
    """

    def __init__(self, crop: Crop, spec: ModelSpec) -> None:
        self._pixels: Pixels | None = None
        self._crop = crop
        self.use(spec)

    def use(self, spec: ModelSpec) -> None:
        """Go on with this model, or this version of it, which has to find the animal first."""
        usual = UNCALIBRATED if spec.confidence is None else CALIBRATED
        self._follower = Follower(self._crop, usual if self._crop.confidence is None else self._crop.confidence)
        self._color: Color = spec.color

    def next_size(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the size of what the model sees first of a frame of this size; None where that is a search."""
        return self._follower.next_size(width, height)

    def follows_in(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the size of the frames in which the next look is one of this many pixels; None where it is not."""
        return self._follower.follows_in(width, height)

    def begin(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Return what the model has to see first in the next frame, ``(height, width, channels)``."""
        self._pixels = pixels
        height, width = pixels.image.shape[:2]
        return pixels.part(self._follower.begin(width, height), self._color)

    def finish(self, keypoints: NDArray[np.float32], infer: Infer) -> tuple[NDArray[np.float32], CropView]:
        """Look at the frame until it is done with; return its pose ``(1, keypoints, 3)`` and where it was seen.

        Args:
            keypoints: what the model saw in what `begin` returned, ``(1, keypoints, 3)``.
            infer: the model, of a batch of one; what it raises is raised.
        """
        pixels, self._pixels = self._pixels, None
        assert pixels is not None, "a frame is begun before it is finished"
        while (view := self._follower.see(keypoints)) is not None:
            keypoints = infer(pixels.part(view, self._color)[np.newaxis])[0]
        return self._follower.keypoints, self._follower.view

    def find(self, pixels: Pixels, infer: Infer) -> tuple[NDArray[np.float32], CropView]:
        """Return the pose of the next frame, ``(1, keypoints, 3)``, and where it was seen."""
        first = self.begin(pixels)
        return self.finish(infer(first[np.newaxis])[0], infer)


def require_croppable(model: PoseModel) -> None:
    """Check that a model can follow one animal in windows of any size.

    Raises:
        InvalidInputError: it finds several animals, or takes one size of frame only.
    """
    if model.spec.max_animals != 1:
        raise InvalidInputError(
            f"a crop follows one animal, and the model {model.name!r} finds up to {model.spec.max_animals}; leave the "
            "crop out."
        )
    if model.fixed_width is not None or model.fixed_height is not None:
        raise InvalidInputError(
            f"a crop shows a model windows of its own size, and the model {model.name!r} only takes frames of "
            f"{model.fixed_width or 'any'}x{model.fixed_height or 'any'}; leave the crop out."
        )
