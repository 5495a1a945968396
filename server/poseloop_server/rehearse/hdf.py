"""Poses from HDF5 files, without running code of theirs.

`poseloop track` and SLEAP write arrays, which are read as they are. DeepLabCut writes a pandas table, whose columns'
names are pickles; pandas and PyTables would load those and any attribute that looks like one, so the file is read by
h5py, and the names by a loader that builds plain values only. Layout: pandas' ``frame_table``, the numbers of the rows
in ``index`` and all columns side by side in ``values_block_0``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
            if all(name in file for name in ("tracks", "point_scores", "node_names")):
                return _analysis(path, file, require_room)
            if f"{HDF_KEY}/table" in file:
                return _columns(path, file[HDF_KEY]["table"], require_room)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{path} can't be read as HDF5: {' '.join(str(error).split())}") from None
    raise InvalidInputError(
        f"{path} holds no poses: give a file that `poseloop track`, DeepLabCut's analyze_videos or SLEAP's analysis "
        "export has written"
    )


def _analysis(path: Path, file: Any, require_room: Callable[[int], None]) -> Analysis:
    """Return poses from SLEAP's order, the axes back to front."""
    tracks, scores = file["tracks"], file["point_scores"]
    require_room(int(np.prod(tracks.shape)) * 4)
    names = _texts(file["node_names"][()])
    shape = tuple(tracks.shape)
    if len(shape) != 4 or shape[1:3] != (2, len(names)) or tuple(scores.shape) != (shape[0], *shape[2:]):
        raise InvalidInputError(
            f"{path}: tracks of the shape {shape} do not fit {len(names)} keypoints and their scores"
        )
    places = np.asarray(tracks[()], np.float32).transpose(3, 0, 2, 1)
    confidences = np.asarray(scores[()], np.float32).transpose(2, 0, 1)
    poses = np.ascontiguousarray(np.concatenate([places, confidences[..., np.newaxis]], axis=-1))
    video = _texts([file["video_path"][()]])[0] if "video_path" in file else ""
    return Analysis(names, poses, Path(video) if video else None)


def _columns(path: Path, table: Any, require_room: Callable[[int], None]) -> Columns:
    if sorted(table.dtype.names or ()) != ["index", _VALUES]:
        raise InvalidInputError(
            f"{path} holds more than the numbers of keypoints; give the csv that DeepLabCut makes of it"
        )
    require_room(len(table) * table.dtype.itemsize)
    try:
        columns = load_plain(bytes(table.attrs[f"{_VALUES}_kind"]))
    except ValueError as error:
        raise InvalidInputError(
            f"{path} holds the names of its columns in a way that is not read ({error}); give the csv that DeepLabCut "
            "makes of it"
        ) from None
    depths = {len(column) if isinstance(column, tuple | list) else 1 for column in columns}
    if depths not in ({3}, {4}):
        raise InvalidInputError(f"{path} is no table of DeepLabCut: its columns are not (scorer, bodyparts, coords)")
    rows = table[()]
    levels = LEVELS if depths == {4} else [level for level in LEVELS if level != "individuals"]
    header = {level: [str(name) for name in names] for level, *names in zip(levels, *columns, strict=True)}
    return Columns(header, rows["index"], np.asarray(rows[_VALUES], np.float32))


def _texts(values: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(value if isinstance(value, str) else bytes(value).decode("utf-8", "replace") for value in values)
