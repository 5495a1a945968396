"""Labelled images, and a table of any number of them in a few arrays.

As objects of their own, 50,000 samples take tens of MB, which every data worker would come to hold once more: counting
references writes into the pages that a forked process shares. The table takes 5, and makes a sample when asked for it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from poseloop_training.image_source import EmbeddedFrame, ImageFile, ImageReference, VideoFrame
from poseloop_training.readers.base import labelled_mask


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    Attributes:
        image: where it lies; ``image.name`` is fit to be shown.
        width: pixels.
        height: pixels.
        keypoints: float32 ``(animals, keypoints, 2)``: x, y in pixels of the image, origin at the centre of its
            top-left pixel; NaN where unlabelled.
    """

    image: ImageReference
    width: int
    height: int
    keypoints: NDArray[np.float32]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which keypoints are labelled: ``(animals, keypoints)``."""
        return labelled_mask(self.keypoints)


class SampleTable(Sequence[Sample]):
    """Samples of one skeleton and the same number of animals, in their order."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        """Take samples in; each is let go before the next is asked for."""
        rows, ends, names, keypoints = array("q"), array("q", [0]), bytearray(), []
        places: dict[ImageReference, int] = {}
        for sample in samples:
            place, index, name = _parts(sample.image)
            names += os.fsencode(name)
            ends.append(len(names))
            rows.extend((places.setdefault(place, len(places)), index, sample.width, sample.height))
            keypoints.append(sample.keypoints)
        self._places = tuple(places)
        self._rows = np.array(rows, dtype=np.int64).reshape(-1, 4)
        self._ends = np.array(ends, dtype=np.int64)
        self._names = bytes(names)
        self._keypoints = np.array(keypoints, dtype=np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Sample: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[Sample]: ...

    def __getitem__(self, row: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(row, slice):
            return [self[each] for each in range(len(self))[row]]
        row = range(len(self))[row]
        place, index, width, height = self._rows[row].tolist()
        name = os.fsdecode(self._names[self._ends[row] : self._ends[row + 1]])
        return Sample(_joined(self._places[place], index, name), width, height, self._keypoints[row])

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))


def _parts(image: ImageReference) -> tuple[ImageReference, int, str]:
    """Return what an image shares with others, and its own number and name there."""
    if isinstance(image, ImageFile):
        return ImageFile(image.path.parent), 0, image.path.name
    if isinstance(image, VideoFrame):
        return VideoFrame(image.path, 0), image.index, ""
    return EmbeddedFrame(image.path, image.dataset, 0), image.index, ""


def _joined(place: ImageReference, index: int, name: str) -> ImageReference:
    """Put together again what `_parts` took apart."""
    if isinstance(place, ImageFile):
        return ImageFile(Path(place.path, name))
    if isinstance(place, VideoFrame):
        return VideoFrame(place.path, index)
    return EmbeddedFrame(place.path, place.dataset, index)
