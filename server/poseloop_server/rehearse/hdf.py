"""Poses from HDF5 files, without running code of theirs.

`poseloop track` and SLEAP write arrays, which are read as they are. DeepLabCut writes a pandas table, whose columns'
names are pickles; pandas and PyTables would load those and any attribute that looks like one, so the file is read by
h5py, and the names by a loader that builds plain values only. Layout: pandas' ``frame_table``, the numbers of the rows
in ``index`` and all columns side by side in ``values_block_0``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.plain_pickle import load_plain

from poseloop_server.tables import HDF_KEY

LEVELS: Final = ("scorer", "individuals", "bodyparts", "coords")
"""Of the columns of a table, outermost first; ``individuals`` only where there are several."""
MOST_NAMES: Final = 10_000
"""Of keypoints."""
LONGEST_NAME: Final = 1_000
"""Of a keypoint, in characters."""
_VALUES: Final = "values_block_0"


@dataclass(frozen=True, slots=True)
class Analysis:
    """The arrays of SLEAP's analysis format.

    Attributes:
        keypoints: names, in the order of their axis.
        poses: float32 ``(frames, instances, keypoints, 3)``.
        video: that they are of; None: the file does not say.
    """

    keypoints: tuple[str, ...]
    poses: NDArray[np.float32]
    video: Path | None


@dataclass(frozen=True, slots=True)
class Columns:
    """DeepLabCut's table.

    Attributes:
        header: the levels of the columns by name, each with one entry a column.
        frames: ``(frames,)``, the numbers of the rows; int64 in a whole file.
        values: float32 ``(frames, columns)``.
    """

    header: dict[str, list[str]]
    frames: NDArray[Any]
    values: NDArray[np.float32]


def read_hdf(path: Path, require_room: Callable[[int], None]) -> Analysis | Columns:
    """Read a file; ``require_room`` is told how many bytes its arrays would take, and refuses too many.

    Raises:
        InvalidInputError: it is damaged, or holds no poses.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            _require_whole(path, file)
            if all(name in file for name in ("tracks", "point_scores", "node_names")):
                return _analysis(path, file, require_room)
            if f"{HDF_KEY}/table" in file:
                return _columns(path, file[HDF_KEY]["table"], require_room)
    except (
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} can't be read as HDF5: {' '.join(str(error).split())}") from None
    raise InvalidInputError(
        f"{path} holds no poses: give a file that `poseloop track`, DeepLabCut's analyze_videos or SLEAP's analysis "
        "export has written"
    )


def _require_whole(path: Path, file: Any) -> None:
    """Refuse a file that has links into others, which may be none that can be read, or never end."""
    import h5py

    links: list[Any] = []
    file.visititems_links(lambda _, link: links.append(link))
    if any(isinstance(link, h5py.ExternalLink) for link in links):
        raise InvalidInputError(f"{path} points into another file, so it is not read; give a file that holds its poses")


def _require_array(path: Path, array: Any, require_room: Callable[[int], None]) -> None:
    """Refuse an array that would not fit, or lies in another file."""
    if array.external or array.is_virtual:
        raise InvalidInputError(f"{path} points into another file, so it is not read; give a file that holds its poses")
    # A chunk is read as a whole, and may be larger than the array.
    require_room(max(math.prod(array.shape), math.prod(array.chunks or ())) * max(array.dtype.itemsize, 4))


def _analysis(path: Path, file: Any, require_room: Callable[[int], None]) -> Analysis:
    """Return poses from SLEAP's order, the axes back to front."""
    tracks, scores, nodes = file["tracks"], file["point_scores"], file["node_names"]
    for array in (tracks, scores, nodes):
        _require_array(path, array, require_room)
    shape = tuple(tracks.shape)
    if (
        len(shape) != 4
        or shape[1:3] != (2, nodes.size)
        or tuple(scores.shape) != (shape[0], *shape[2:])
        or not {tracks.dtype.kind, scores.dtype.kind} <= set("fiu")
    ):
        raise InvalidInputError(
            f"{path}: tracks of the shape {shape} do not fit {nodes.size} keypoints and their scores"
        )
    names = _names(path, nodes)
    places = np.asarray(tracks[()], np.float32).transpose(3, 0, 2, 1)
    confidences = np.asarray(scores[()], np.float32).transpose(2, 0, 1)
    poses = np.ascontiguousarray(np.concatenate([places, confidences[..., np.newaxis]], axis=-1))
    return Analysis(names, poses, _video(path, file, require_room))


def _names(path: Path, nodes: Any) -> tuple[str, ...]:
    """Return the names one by one: those of variable length may all be the same long one."""
    if nodes.ndim != 1 or nodes.size > MOST_NAMES:
        raise InvalidInputError(f"{path}: node_names of the shape {nodes.shape} are no names of keypoints")
    names = [_text(nodes[number]) for number in range(nodes.size)]
    if any(name is None or len(name) > LONGEST_NAME for name in names):
        raise InvalidInputError(f"{path}: node_names must be strings of at most {LONGEST_NAME} characters")
    return tuple(name for name in names if name is not None)


def _video(path: Path, file: Any, require_room: Callable[[int], None]) -> Path | None:
    if "video_path" not in file:
        return None
    _require_array(path, file["video_path"], require_room)
    text = _text(file["video_path"][()]) if file["video_path"].ndim == 0 else None
    return Path(text) if text else None


def _columns(path: Path, table: Any, require_room: Callable[[int], None]) -> Columns:
    if sorted(table.dtype.names or ()) != ["index", _VALUES]:
        raise InvalidInputError(
            f"{path} holds more than the numbers of keypoints; give the csv that DeepLabCut makes of it"
        )
    _require_array(path, table, require_room)
    try:
        pickled = table.attrs[f"{_VALUES}_kind"]
        if not isinstance(pickled, bytes):  # of a number h5py and `bytes` would make as many zeros
            raise ValueError("it is no pickle")
        columns = load_plain(pickled)
    except ValueError as error:
        raise InvalidInputError(
            f"{path} holds the names of its columns in a way that is not read ({error}); give the csv that DeepLabCut "
            "makes of it"
        ) from None
    if not isinstance(columns, list):
        columns = []
    depths = {len(column) if isinstance(column, tuple | list) else 1 for column in columns}
    if depths not in ({3}, {4}) or not all(isinstance(name, str | int) for column in columns for name in column):
        raise InvalidInputError(f"{path} is no table of DeepLabCut: its columns are not (scorer, bodyparts, coords)")
    if table.ndim != 1 or table.dtype[_VALUES].shape != (len(columns),):
        raise InvalidInputError(f"{path}: the table of the shape {table.shape} does not fit its {len(columns)} columns")
    rows = table[()]
    levels = LEVELS if depths == {4} else [level for level in LEVELS if level != "individuals"]
    header = {level: [str(name) for name in names] for level, *names in zip(levels, *columns, strict=True)}
    return Columns(header, rows["index"], np.asarray(rows[_VALUES], np.float32))


def _text(value: object) -> str | None:
    """Return a string of either kind; None: it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
