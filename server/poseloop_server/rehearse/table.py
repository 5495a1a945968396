"""Poses from a table that `poseloop track` or DeepLabCut has written, as csv or as HDF5 (`hdf`)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import Frame, holds_control_characters

from poseloop_server.rehearse.hdf import LEVELS, Analysis, read_hdf
from poseloop_server.rehearse.recording import RecordedPose, Timing
from poseloop_server.tables import COORDS, FORMATS

MAX_BYTES: Final = 4 << 30
"""Of a table, as floats in memory: 80 hours at 100 frames a second of an animal with 12 keypoints."""


@dataclass(frozen=True, slots=True)
class PoseTable:
    """Poses of a whole video.

    Attributes:
        path: of the file.
        keypoints: names, in the order of their axis.
        frames: int64 ``(frames,)``, the numbers of the frames in the video.
        poses: float32 ``(frames, instances, keypoints, 3)``.
        video: that they are of, as the file has it; None: it does not say.
    """

    path: Path
    keypoints: tuple[str, ...]
    frames: NDArray[np.int64]
    poses: NDArray[np.float32]
    video: Path | None = None


class TableRecording:
    """The poses of a table, with the times that the rate of the frames gives them.

    Args:
        table: as `read_table` returns it.
        timing: of the frames.
        size: width and height of the frames, in pixels.
        pictures: the frames of the video that the poses are of, from its first one on, to be drawn on; may be fewer.
    """

    has_images = False

    def __init__(self, table: PoseTable, timing: Timing, size: tuple[int, int], pictures: Iterable[Frame] = ()) -> None:
        self.description = str(table.path)
        self.keypoints = table.keypoints
        self.frames = len(table.frames)
        self._table, self._timing, self._size, self._pictures = table, timing, size, enumerate(pictures)

    def remarks(self) -> list[str]:
        """Return nothing: what a table lacks it does not know of."""
        return []

    def __iter__(self) -> Iterator[RecordedPose]:
        """Yield the poses."""
        for frame, keypoints in zip(self._table.frames.tolist(), self._table.poses, strict=True):
            picture = next((picture for number, picture in self._pictures if number == frame), None)
            yield RecordedPose(frame, *self._timing.of(frame), *self._size, keypoints, picture=picture)


def read_table(path: Path) -> PoseTable:
    """Read a csv or HDF5 file.

    Raises:
        InvalidInputError: it is not there, or no such table.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path} with poses")
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    if path.suffix.lower() in FORMATS:
        return _read_hdf(path)
    raise InvalidInputError(f"the poses {path} must be a {', '.join(FORMATS)}, or the .jsonl of an experiment")


def _read_hdf(path: Path) -> PoseTable:
    contents = read_hdf(path, lambda size: _require_room(path, size))
    if isinstance(contents, Analysis):
        return PoseTable(path, contents.keypoints, np.arange(len(contents.poses)), contents.poses, contents.video)
    return _of_columns(path, contents.header, contents.frames, contents.values)


def _read_csv(path: Path) -> PoseTable:
    import pandas as pd

    try:
        with path.open(newline="", encoding="utf-8") as file:
            header = _header(path, list(islice(csv.reader(file), len(LEVELS))))
        _require_room(path, path.stat().st_size)
        rows = pd.read_csv(path, skiprows=len(header), header=None, index_col=0, encoding="utf-8")
        frames, values = rows.index.to_numpy(), rows.to_numpy(np.float32)
    except (OSError, ValueError, csv.Error) as error:  # pandas' own errors are ValueErrors too
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} can't be read as a table of poses: {' '.join(str(error).split())}") from None
    return _of_columns(path, header, frames, values)


def _of_columns(
    path: Path, header: Mapping[str, list[str]], frames: NDArray[Any], values: NDArray[np.float32]
) -> PoseTable:
    """Return the poses of a table's columns: its levels, the numbers of the frames, and ``(frames, columns)``."""
    keypoints, animals = _columns(path, header)
    width = animals * len(keypoints) * len(COORDS)
    if values.ndim != 2 or values.shape[1] != width:
        raise InvalidInputError(f"{path}: a row must hold the number of a frame and {width} values, as its header says")
    numbers = frames.astype(np.int64) if frames.dtype.kind in "iu" else None  # of uint64, the largest become negative
    if numbers is None or (np.diff(numbers) <= 0).any() or (len(numbers) and numbers[0] < 0):
        raise InvalidInputError(f"{path}: the first column must hold the numbers of the frames, in rising order")
    return PoseTable(path, keypoints, numbers, values.reshape(-1, animals, len(keypoints), 3))


def _header(path: Path, rows: list[list[str]]) -> dict[str, list[str]]:
    """Return the levels of the columns that the first rows hold, by name."""
    header: dict[str, list[str]] = {}
    for row in rows:
        if row and row[0] in LEVELS:
            header[row[0]] = row[1:]
        if row and row[0] == "coords":
            break
    if not {"scorer", "bodyparts", "coords"} <= header.keys():
        raise InvalidInputError(
            f"{path} is no table of poses: its first rows must be scorer, bodyparts and coords, as `poseloop track` "
            "and DeepLabCut write them"
        )
    return header


def _columns(path: Path, header: Mapping[str, list[str]]) -> tuple[tuple[str, ...], int]:
    """Return the keypoints, and the number of animals."""
    parts, coords = header["bodyparts"], header["coords"]
    animals = list(dict.fromkeys(header.get("individuals", ["animal1"])))
    keypoints = tuple(dict.fromkeys(parts))
    expected = [(part, coord) for _ in animals for part in keypoints for coord in COORDS]
    if not keypoints or list(zip(parts, coords, strict=False)) != expected:
        raise InvalidInputError(
            f"{path}: every keypoint needs the columns {', '.join(COORDS)}, in this order, and every animal the same "
            "keypoints; a table of labels has no likelihood and can't be rehearsed"
        )
    for name in keypoints:
        if holds_control_characters(name):
            raise InvalidInputError(f"{path}: the keypoint {name!r} holds a control character; rename it")
    return keypoints, len(animals)


def _require_room(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise InvalidInputError(f"{path} is too large to be read at once, {size >> 20} MiB; rehearse a part of it")
