"""Labels drawn over their frames, for a person to look through: one colour a keypoint, named in a strip below."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poseloop_training.drawing import keypoint_colours

# Small frames are enlarged, so that labels and names can be told apart.
LEAST_WIDTH: Final = 800
MOST_WIDTH: Final = 1600
LINE: Final = 26
SCALE: Final = 0.55


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the drawings of one project have in common."""

    names: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]

    def of(
        self, image: NDArray[np.uint8], keypoints: NDArray[np.float32], title: str, doubtful: Collection[str] = ()
    ) -> NDArray[np.uint8]:
        """Return uint8 RGB: the frame ``(height, width, channels)`` with its labels ``(animals, keypoints, 2)``.

        Keypoints in ``doubtful`` are ringed in red and named in red.
        """
        import cv2

        rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        zoom = _zoom(rgb.shape[1])
        size = round(rgb.shape[1] * zoom), round(rgb.shape[0] * zoom)
        how = cv2.INTER_NEAREST if zoom >= 2 else cv2.INTER_AREA
        canvas = np.asarray(cv2.resize(rgb, size, interpolation=how), dtype=np.uint8)
        # The centre of the top-left pixel is (0, 0) before, and (zoom - 1) / 2 after.
        points = (keypoints.astype(np.float64) + 0.5) * zoom - 0.5
        colours = [_bytes(colour) for colour in keypoint_colours(len(self.names))]
        for animal in points:
            self._draw_animal(canvas, animal, colours, doubtful)
        labelled = np.atleast_1d(np.isfinite(keypoints).all(axis=2).any(axis=0)).tolist()
        missing = [name for name, known in zip(self.names, labelled, strict=True) if not known]
        strip = self._strip(canvas.shape[1], title, colours, doubtful, missing)
        return np.concatenate([canvas, strip])

    def _draw_animal(
        self, canvas: NDArray[np.uint8], points: NDArray[np.float64], colours: Sequence[Any], doubtful: Collection[str]
    ) -> None:
        import cv2

        for first, second in self.skeleton:
            ends = points[[self.names.index(first), self.names.index(second)]]
            if np.isfinite(ends).all():
                cv2.line(canvas, _pixel(ends[0]), _pixel(ends[1]), (255, 255, 255), 1, cv2.LINE_AA)
        for name, point, colour in zip(self.names, points, colours, strict=True):
            if np.isfinite(point).all():
                centre = _pixel(point)
                cv2.circle(canvas, centre, 6, (0, 0, 0), 3, cv2.LINE_AA)
                cv2.circle(canvas, centre, 6, colour, 2, cv2.LINE_AA)
                cv2.circle(canvas, centre, 1, colour, -1, cv2.LINE_AA)
                if name in doubtful:
                    cv2.circle(canvas, centre, 15, (255, 40, 40), 2, cv2.LINE_AA)

    def _strip(
        self, width: int, title: str, colours: Sequence[Any], doubtful: Collection[str], missing: Collection[str]
    ) -> NDArray[np.uint8]:
        import cv2

        def width_of(text: str) -> int:
            return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, SCALE, 1)[0][0])

        def write(strip: NDArray[np.uint8], text: str, x: int, row: int, colour: tuple[int, int, int]) -> None:
            place = (x, row * LINE + 18)
            cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, SCALE, colour, 1, cv2.LINE_AA)

        texts = [f"{_ascii(name)}{' (not labelled)' if name in missing else ''}" for name in self.names]
        cell = max(width_of(text) for text in texts) + 44
        columns = max(1, min(width // cell, len(texts)))
        strip = np.full(((1 + math.ceil(len(texts) / columns)) * LINE + 8, width, 3), 24, dtype=np.uint8)
        write(strip, _ascii(title), 10, 0, (235, 235, 235))
        for place, (name, text, colour) in enumerate(zip(self.names, texts, colours, strict=True)):
            row, x = 1 + place // columns, 10 + place % columns * cell
            cv2.circle(strip, (x + 7, row * LINE + 13), 6, colour, 2, cv2.LINE_AA)
            shade = (255, 90, 90) if name in doubtful else (130, 130, 130) if name in missing else (235, 235, 235)
            write(strip, text, x + 20, row, shade)
        return strip


def _zoom(width: int) -> float:
    if width < LEAST_WIDTH:
        return float(math.ceil(LEAST_WIDTH / width))
    return min(1.0, MOST_WIDTH / width)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(point, -1e6, 1e6).round().astype(int)
    return int(x), int(y)


def _bytes(colour: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colour[:3])
    return red, green, blue


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # OpenCV's letters
