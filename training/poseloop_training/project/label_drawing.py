"""Labels drawn over their frames, for a person to look through: the whole frame, and beside it the animal enlarged."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from poseloop_training.drawing import keypoint_colours

# Height of the pictures without the strip of names, in pixels: that of the frame within these.
HEIGHTS: Final = (420, 800)
# Around the animal, in parts of its extent; and the least that is shown, in parts of the frame's height.
MARGIN: Final = 0.3
SMALLEST_VIEW: Final = 0.25
LINE: Final = 26
LETTERS: Final = 0.55

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
LIGHT: Final[Colour] = (235, 235, 235)
DIM: Final[Colour] = (130, 130, 130)
DARK: Final = 24
RED: Final[Colour] = (255, 80, 80)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the drawings of one project have in common."""

    names: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]

    def of(self, image: Image, keypoints: NDArray[np.float32], title: str, doubtful: Collection[str] = ()) -> Image:
        """Return uint8 RGB: the frame ``(height, width, channels)`` with its labels ``(animals, keypoints, 2)``.

        Keypoints in ``doubtful`` are ringed in red and named in red.
        """
        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        colours = [_bytes(colour) for colour in keypoint_colours(len(self.names))]
        views = [_whole(rgb), _enlarged(rgb, keypoints)]
        for view in views:
            for animal in view.points(keypoints):
                self._draw_animal(view, animal, colours, doubtful)
        gap = np.full((len(views[0].pixels), 4, 3), DARK, dtype=np.uint8)
        picture = np.concatenate([views[0].pixels, gap, views[1].pixels], axis=1)
        labelled = np.isfinite(keypoints.sum(axis=2))
        missing = [name for place, name in enumerate(self.names) if not labelled[:, place].any()]
        return np.concatenate([picture, self._strip(picture.shape[1], title, colours, doubtful, missing)])

    def _draw_animal(
        self, view: _View, points: NDArray[np.float64], colours: Sequence[Colour], doubtful: Collection[str]
    ) -> None:
        import cv2

        canvas, radius = view.pixels, view.radius
        for first, second in self.skeleton:
            ends = points[[self.names.index(first), self.names.index(second)]]
            if np.isfinite(ends).all():
                cv2.line(canvas, _pixel(ends[0]), _pixel(ends[1]), (255, 255, 255), 1, cv2.LINE_AA)
        for name, point, colour in zip(self.names, points, colours, strict=True):
            if np.isfinite(point).all():
                centre = _pixel(point)
                cv2.circle(canvas, centre, radius, (0, 0, 0), radius // 2, cv2.LINE_AA)
                cv2.circle(canvas, centre, radius, colour, radius // 3, cv2.LINE_AA)
                if name in doubtful:
                    cv2.circle(canvas, centre, 2 * radius, RED, 2, cv2.LINE_AA)

    def _strip(
        self,
        width: int,
        title: str,
        colours: Sequence[Colour],
        doubtful: Collection[str],
        missing: Collection[str],
    ) -> Image:
        import cv2

        texts = [_ascii(name) + (" (not labelled)" if name in missing else "") for name in self.names]
        cell = max(_width_of(text) for text in texts) + 44
        columns = max(1, min(width // cell, len(texts)))
        rows = 1 + math.ceil(len(texts) / columns)
        strip = np.full((rows * LINE + 8, width, 3), DARK, dtype=np.uint8)
        _write(strip, _ascii(title), 10, 0, LIGHT)
        for place, (name, text, colour) in enumerate(zip(self.names, texts, colours, strict=True)):
            row, x = 1 + place // columns, 10 + place % columns * cell
            cv2.circle(strip, (x + 7, row * LINE + 13), 6, colour, 2, cv2.LINE_AA)
            _write(strip, text, x + 20, row, RED if name in doubtful else DIM if name in missing else LIGHT)
        return strip


@dataclass(frozen=True, eq=False)
class _View:
    """A part of a frame at some size, with labels as circles of ``radius``.

    What lies at ``(x, y)`` of the frame lies at ``((x, y) - corner) * zoom`` of the view.
    """

    pixels: Image
    corner: NDArray[np.float64]
    zoom: float
    radius: int

    def points(self, keypoints: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray((keypoints - self.corner) * self.zoom, dtype=np.float64)


def _whole(rgb: Image) -> _View:
    import cv2

    height, width = rgb.shape[:2]
    zoom = float(np.clip(height, *HEIGHTS)) / height
    size = max(1, round(width * zoom)), round(height * zoom)
    pixels = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    # The frame's edge, half a pixel before the centre of its first pixel, stays the edge.
    return _View(np.array(pixels, dtype=np.uint8), np.full(2, -0.5 + 0.5 / zoom), zoom, 4)


def _enlarged(rgb: Image, keypoints: NDArray[np.float32]) -> _View:
    """Return a square around the animals, moved into the frame as far as it fits."""
    import cv2

    side = int(np.clip(rgb.shape[0], *HEIGHTS))
    size = np.array(rgb.shape[1::-1], dtype=np.float64)
    points = keypoints[np.isfinite(keypoints).all(axis=2)].clip(0, size - 1)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), size - 1)
    half = max(float((high - low).max()) * (0.5 + MARGIN), rgb.shape[0] * SMALLEST_VIEW / 2)
    middle = np.clip((low + high) / 2, np.minimum(half, size / 2), np.maximum(size - half, size / 2))
    zoom, corner = side / (2 * half), middle - half
    to_view = np.array([[zoom, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom]])
    pixels = cv2.warpAffine(rgb, to_view, (side, side), flags=cv2.INTER_LINEAR, borderValue=(DARK, DARK, DARK))
    return _View(np.array(pixels, dtype=np.uint8), corner, zoom, 7)


def _write(strip: Image, text: str, x: int, row: int, colour: Colour) -> None:
    import cv2

    cv2.putText(strip, text, (x, row * LINE + 18), cv2.FONT_HERSHEY_SIMPLEX, LETTERS, colour, 1, cv2.LINE_AA)


def _width_of(text: str) -> int:
    import cv2

    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, LETTERS, 1)[0][0])


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -1e6, 1e6).round().astype(int)
    return int(x), int(y)


def _bytes(colour: Sequence[float]) -> Colour:
    red, green, blue = (round(255 * part) for part in colour[:3])
    return red, green, blue


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # what every OpenCV can draw
