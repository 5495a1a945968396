"""Draws poses over images: skeleton and keypoints, the surer the larger and the more opaque, and a caption."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import MissingExtraError

Image = NDArray[np.uint8]

# Below this a keypoint is a guess; drawing it would only hide the image.
LEAST_CONFIDENCE = 0.05
_SUBPIXEL_BITS = 4
_GOLDEN_RATIO = 0.618034


class Overlay:
    """Draws the poses of one model.

    Args:
        keypoint_names: in the order of the poses.
        skeleton: edges, by keypoint name.
    """

    def __init__(self, keypoint_names: Sequence[str], skeleton: Sequence[tuple[str, str]]) -> None:
        try:
            import cv2
        except ImportError:
            raise MissingExtraError("drawing", "camera") from None
        self._cv2 = cv2
        order = {name: number for number, name in enumerate(keypoint_names)}
        self._edges = [(order[first], order[second]) for first, second in skeleton]
        self.colors = [color_of(number) for number in range(len(keypoint_names))]

    def draw(self, image: Image, keypoints: NDArray[np.float32], caption: str = "") -> None:
        """Draw on a BGR image ``(height, width, 3)``, in place.

        Args:
            image: uint8, C-contiguous.
            keypoints: ``(instances, keypoints, 3)``: x, y in pixels of the image, confidence; NaN is not drawn.
            caption: one line for the top left corner.
        """
        scale = max(min(image.shape[:2]) / 480, 0.5)
        for instance in keypoints:
            for first, second in self._edges:
                self._edge(image, instance[first], instance[second], scale)
            for point, color in zip(instance, self.colors, strict=True):
                self._point(image, point, color, scale)
        if caption:
            self._caption(image, caption, scale)

    def _edge(self, image: Image, first: NDArray[np.float32], second: NDArray[np.float32], scale: float) -> None:
        confidence = _confidence(first, second)
        if confidence < LEAST_CONFIDENCE:
            return
        xs, ys = (first[0], second[0]), (first[1], second[1])
        part, left, top = _window(image, min(xs), min(ys), max(xs), max(ys), 3 * scale)
        if part.size == 0:
            return
        painted = part.copy()
        start, end = _fixed(first[0] - left, first[1] - top), _fixed(second[0] - left, second[1] - top)
        thickness = max(round(1.4 * scale), 1)
        self._cv2.line(painted, start, end, (235, 235, 235), thickness, self._cv2.LINE_AA, _SUBPIXEL_BITS)
        self._blend(part, painted, 0.75 * confidence)

    def _point(self, image: Image, point: NDArray[np.float32], color: tuple[int, int, int], scale: float) -> None:
        confidence = _confidence(point)
        if confidence < LEAST_CONFIDENCE:
            return
        radius = (2.0 + 2.5 * confidence) * scale
        part, left, top = _window(image, point[0], point[1], point[0], point[1], radius + 3)
        if part.size == 0:
            return
        painted = part.copy()
        centre = _fixed(point[0] - left, point[1] - top)
        for size, shade in ((radius + 1.0, (20, 20, 20)), (radius, color)):
            whole = round(size * 2**_SUBPIXEL_BITS)
            self._cv2.circle(painted, centre, whole, shade, -1, self._cv2.LINE_AA, _SUBPIXEL_BITS)
        self._blend(part, painted, 0.25 + 0.75 * confidence)

    def _blend(self, part: Image, painted: Image, opacity: float) -> None:
        part[:] = self._cv2.addWeighted(painted, opacity, part, 1.0 - opacity, 0.0)

    def _caption(self, image: Image, caption: str, scale: float) -> None:
        font, size, pad = self._cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, round(6 * scale)
        weight = max(round(scale), 1)
        (width, height), below = self._cv2.getTextSize(caption, font, size, weight)
        box = image[: height + below + 2 * pad, : width + 2 * pad]
        box //= 3
        self._cv2.putText(image, caption, (pad, pad + height), font, size, (255, 255, 255), weight, self._cv2.LINE_AA)


def color_of(number: int) -> tuple[int, int, int]:
    """Return a BGR colour that lies far from those of the neighbouring numbers."""
    red, green, blue = colorsys.hsv_to_rgb((0.03 + number * _GOLDEN_RATIO) % 1.0, 0.75, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _confidence(*points: NDArray[np.float32]) -> float:
    """The least confidence of the points; 0 where one of them is absent."""
    if not all(np.isfinite(point).all() for point in points):
        return 0.0
    return float(np.clip(min(point[2] for point in points), 0.0, 1.0))


def _window(
    image: Image, left: float, top: float, right: float, bottom: float, margin: float
) -> tuple[Image, int, int]:
    """The part of the image around a box, empty where it lies outside, and the place of its corner."""
    height, width = image.shape[:2]
    low_x, low_y = max(int(left - margin), 0), max(int(top - margin), 0)
    high_x, high_y = min(int(right + margin) + 2, width), min(int(bottom + margin) + 2, height)
    return image[low_y : max(high_y, low_y), low_x : max(high_x, low_x)], low_x, low_y


def _fixed(x: float, y: float) -> tuple[int, int]:
    """A place in OpenCV's fixed-point coordinates."""
    return round(float(x) * 2**_SUBPIXEL_BITS), round(float(y) * 2**_SUBPIXEL_BITS)
