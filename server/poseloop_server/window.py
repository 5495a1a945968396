"""Where to look for one animal in large frames: a window that follows it, and a search where it is lost.

Nothing here touches an image or a model. A `Follower` says which part of a frame the model gets to see next, and is
told which keypoints it saw there, until the frame is done with (docs/crop.md):

1. *Follow*: the window where the animal was. Seen whole: done.
2. *Centre*: seen, but perhaps cut off; the window about what was seen, in the same frame.
3. *Search*: lost. The whole frame, reduced to the pixels of a few windows; the window about what looks most like the
   animal then confirms it at full scale. Where it does not, one tile of the frame is looked at as well, another one in
   each frame, so that an animal which the reduced frame does not show is found too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray
from poseloop.crop import Crop, CropView

SEARCH_WINDOWS = 4  # the whole frame is searched with the pixels of so many windows
SEEN = 0.5  # the share of keypoints that have to be seen
NEAR = 1 / 16  # of the window's side: so far the animal may be from its middle before the window moves
_VAGUE = 0.25  # of the most confident keypoint's confidence: from there on a keypoint tells where the animal is

Keypoints = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """A part of a frame, in its pixels, and the size of the image of it that the model gets."""

    x: int
    y: int
    width: int
    height: int
    image_width: int
    image_height: int

    @property
    def is_reduced(self) -> bool:
        """Whether the model sees it smaller than it is."""
        return (self.image_width, self.image_height) != (self.width, self.height)

    def to_frame(self, keypoints: Keypoints) -> Keypoints:
        """Turn pixels of the image into pixels of the frame; the origin is the centre of the top-left pixel in both."""
        placed = keypoints.copy()
        if self.is_reduced:
            scale = np.array([self.width / self.image_width, self.height / self.image_height], np.float32)
            placed[..., :2] = (placed[..., :2] + np.float32(0.5)) * scale - np.float32(0.5)
        placed[..., :2] += np.array([self.x, self.y], np.float32)
        return placed


class _Step(Enum):
    FOLLOW = auto()
    CENTRE = auto()
    SEARCH = auto()
    CONFIRM = auto()
    SCAN = auto()


@dataclass(frozen=True, slots=True)
class _Sight:
    """What was seen in one view, in pixels of the frame."""

    view: View
    keypoints: Keypoints
    points: NDArray[np.float64]  # (keypoints, 2), finite ones only
    confidence: NDArray[np.float64]
    seen: int  # keypoints that are confident
    found: bool

    @property
    def rank(self) -> tuple[int, bool, float]:
        """The higher, the better a pose it makes."""
        return (self.seen, not self.view.is_reduced, float(self.confidence.sum()))


class Follower:
    """Follows the animal of one stream, frame by frame.

    Attributes:
        crop: the window's size.
        confidence: of a keypoint, from which on it counts as seen.
        keypoints: the pose of the latest frame, in its pixels.
        view: where it was seen.
    """

    keypoints: Keypoints
    view: CropView

    def __init__(self, crop: Crop, confidence: float) -> None:
        self.crop = crop
        self.confidence = confidence
        self._frame = (0, 0)
        self._window: View | None = None
        self._step = _Step.SEARCH
        self._looking: View
        self._best: _Sight | None = None
        self._searched = False
        self._seen: int | None = None  # keypoints in the frame before; None: it was not found there
        self._tile = 0

    def reset(self) -> None:
        """Forget where the animal was: the next frame is searched."""
        self._window, self._seen, self._tile = None, None, 0

    def next_size(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the size of the first look at a frame of this size; None where it will be searched."""
        window = self._window if (width, height) == self._frame else None
        return None if window is None else (window.width, window.height)

    def follows_in(self, width: int, height: int) -> tuple[int, int] | None:
        """Return the size of the frames in which the next look is one of this many pixels; None where it is not."""
        window = self._window
        if window is None or (window.width, window.height) != (width, height):
            return None
        return self._frame

    def begin(self, width: int, height: int) -> View:
        """Return what to look at first in the next frame, which is of this size."""
        if (width, height) != self._frame:
            self._frame = (width, height)
            self.reset()
        self._best, self._searched = None, False
        if self._window is not None:
            return self._look(_Step.FOLLOW, self._window)
        return self._search()

    def see(self, keypoints: Keypoints) -> View | None:
        """Take in what was seen, in pixels of the image; return what to look at next in the same frame, if anything.

        Args:
            keypoints: float32 ``(1, keypoints, 3)``.
        """
        sight = self._sight(keypoints)
        if self._best is None or sight.rank >= self._best.rank:
            self._best = sight
        match self._step:
            case _Step.SEARCH if sight.view.is_reduced:
                return self._look(_Step.CONFIRM, self._about(sight))
            case _Step.FOLLOW | _Step.CONFIRM | _Step.SCAN if sight.found:
                centred = self._about(sight)
                if self._may_be_cut(sight, centred):
                    return self._look(_Step.CENTRE, centred)
            case _Step.FOLLOW if not self._holds_all(sight.view):
                return self._search()
            case _Step.CONFIRM:
                return self._look(_Step.SCAN, self._next_tile())
        self._finish(self._best)
        return None

    def _finish(self, best: _Sight) -> None:
        x, y, width, height = best.view.x, best.view.y, best.view.width, best.view.height
        self.keypoints = best.keypoints
        self.view = CropView(x, y, width, height, searched=self._searched, lost=not best.found)
        self._seen = best.seen if best.found else None
        if not best.found:
            self._window = None
            return
        # It rests while the animal does: a window that moved with it would let its keypoints tremble.
        self._tile, centred, view = 0, self._about(best), best.view
        same = (centred.width, centred.height) == (view.width, view.height)
        self._window = view if same and not any(self._apart(centred, view)) else centred

    def _look(self, step: _Step, view: View) -> View:
        self._step, self._looking = step, view
        return view

    def _search(self) -> View:
        width, height = self._frame
        most = SEARCH_WINDOWS * self.crop.width * self.crop.height
        reduction = max(1.0, math.sqrt(width * height / most))
        self._searched = True
        image = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        return self._look(_Step.SEARCH, View(0, 0, width, height, *image))

    def _sight(self, keypoints: Keypoints) -> _Sight:
        view = self._looking
        placed = view.to_frame(keypoints)
        points = placed[0, :, :2].astype(np.float64)
        finite = np.isfinite(points).all(axis=1)
        confidence = np.where(finite, placed[0, :, 2].astype(np.float64), 0.0)
        seen = int(np.count_nonzero(confidence >= self.confidence))
        found = seen > 0 and seen >= SEEN * len(confidence)
        return _Sight(view, placed, points[finite], confidence[finite], seen, found)

    def _window_at(self, x: float, y: float) -> View:
        """Return the window that is centred there as far as the frame's borders let it."""
        left, width = _span(x, self.crop.width, self._frame[0])
        top, height = _span(y, self.crop.height, self._frame[1])
        return View(left, top, width, height, width, height)

    def _about(self, sight: _Sight) -> View:
        """Return the window about the animal, which is where most confidence is within a window's reach.

        A network that is unsure may put single keypoints anywhere; the animal is where they are together.
        """
        points, confidence = sight.points, sight.confidence
        if not len(points):
            return self._window_at(self._frame[0] / 2, self._frame[1] / 2)
        reach = np.array([self.crop.width, self.crop.height]) / 2
        within: NDArray[np.bool_] = np.all(np.abs(points[:, None] - points[None]) <= reach, axis=2)
        together = within[np.argmax(within @ confidence)]
        telling = points[together & (confidence >= _VAGUE * confidence[together].max())]
        x, y = (telling.min(axis=0) + telling.max(axis=0)) / 2
        return self._window_at(float(x), float(y))

    def _apart(self, new: View, old: View) -> tuple[bool, bool]:
        """Whether it is worth moving a window, across and down: far enough, or to the border, where margins end."""
        across = new.x in (0, self._frame[0] - new.width) and new.x != old.x
        down = new.y in (0, self._frame[1] - new.height) and new.y != old.y
        return across or abs(new.x - old.x) > NEAR * new.width, down or abs(new.y - old.y) > NEAR * new.height

    def _may_be_cut(self, sight: _Sight, centred: View) -> bool:
        """Whether a window about the animal would show more of it, or what is near a side of this view better."""
        apart, view = self._apart(centred, sight.view), sight.view
        if any(apart) and sight.seen < (sight.keypoints.shape[1] if self._seen is None else self._seen):
            return True
        low, high = sight.points.min(axis=0), sight.points.max(axis=0)
        return any(
            moved and (low[axis] < start + NEAR * length or high[axis] > start + (1 - NEAR) * length - 1)
            for axis, (moved, start, length) in enumerate(
                zip(apart, (view.x, view.y), (view.width, view.height), strict=True)
            )
        )

    def _holds_all(self, view: View) -> bool:
        return (view.width, view.height) == self._frame

    def _next_tile(self) -> View:
        """Return the next of the windows that cover the frame row by row, each half over the one before."""
        columns, rows = (
            max(1, math.ceil(2 * (whole - part) / part) + 1) if whole > part else 1
            for whole, part in zip(self._frame, (self.crop.width, self.crop.height), strict=True)
        )
        row, column = divmod(self._tile % (columns * rows), columns)
        self._tile += 1
        place = [
            (whole - part) * number / max(1, count - 1) + (part - 1) / 2
            for whole, part, number, count in zip(
                self._frame, (self.crop.width, self.crop.height), (column, row), (columns, rows), strict=True
            )
        ]
        return self._window_at(*place)


def _span(centre: float, side: int, whole: int) -> tuple[int, int]:
    """Return start and length of a window along one axis: within the frame, and at its border where that is near."""
    if side >= whole:
        return 0, whole
    start, last, near = round(centre - (side - 1) / 2), whole - side, NEAR * side
    if 2 * start < last:
        return (0 if start <= near else start), side
    return (last if start >= last - near else start), side
