"""Poses from HDF5 files: the arrays of `poseloop track` and SLEAP, and DeepLabCut's tables of pandas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.hdf import GivenFile, open_given, text_of
from poseloop.pandas_hdf import read_frame

from poseloop_server.tables import HDF_KEY

LEVELS: Final = ("scorer", "individuals", "bodyparts", "coords")
"""Of the columns of a table, outermost first; ``individuals`` only where there are several."""
MOST_NAMES: Final = 10_000
"""Of keypoints."""
LONGEST_NAME: Final = 1_000
"""Of a keypoint, in characters."""
_REMEDY: Final = (
    "give a file that `poseloop track`, DeepLabCut's analyze_videos or SLEAP's analysis export has written, or the csv "
    "of the same poses"
)


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
    """Read a file; ``require_room`` is told how many bytes its arrays have taken so far, and refuses too many.

    Raises:
        InvalidInputError: it is damaged, or holds no poses.
    """
    with open_given(path, _REMEDY, require_room) as file:
        if all(name in file.content for name in ("tracks", "point_scores", "node_names")):
            return _analysis(file)
        if HDF_KEY in file.content:
            return _columns(file, file.content[HDF_KEY])
        raise file.refusal("holds no poses")


def _analysis(file: GivenFile) -> Analysis:
    """Return poses from SLEAP's order, the axes back to front."""
    tracks, scores, nodes = (file.content[name] for name in ("tracks", "point_scores", "node_names"))
    for array in (tracks, scores, nodes):
        file.take_array(array)
    shape = tuple(tracks.shape)
    if (
        len(shape) != 4
        or shape[1:3] != (2, nodes.size)
        or tuple(scores.shape) != (shape[0], *shape[2:])
        or not {tracks.dtype.kind, scores.dtype.kind} <= set("fiu")
    ):
        raise file.refusal(
            f"holds tracks of the shape {shape}, which do not fit {nodes.size} keypoints and their scores"
        )
    names = _names(file, nodes)
    places = np.asarray(tracks[()], np.float32).transpose(3, 0, 2, 1)
    confidences = np.asarray(scores[()], np.float32).transpose(2, 0, 1)
    poses = np.ascontiguousarray(np.concatenate([places, confidences[..., np.newaxis]], axis=-1))
    return Analysis(names, poses, _video(file))


def _names(file: GivenFile, nodes: Any) -> tuple[str, ...]:
    """Return the names one by one: those of variable length may all be the same long one."""
    if nodes.ndim != 1 or nodes.size > MOST_NAMES:
        raise file.refusal(f"holds node_names of the shape {nodes.shape}, which are no names of keypoints")
    names = [text_of(nodes[number]) for number in range(nodes.size)]
    if any(name is None or len(name) > LONGEST_NAME for name in names):
        raise file.refusal(f"must hold node_names that are strings of at most {LONGEST_NAME} characters")
    return tuple(name for name in names if name is not None)


def _video(file: GivenFile) -> Path | None:
    if "video_path" not in file.content:
        return None
    video = file.content["video_path"]
    file.take_array(video)
    text = text_of(video[()]) if video.ndim == 0 else None
    return Path(text) if text else None


def _columns(file: GivenFile, group: Any) -> Columns:
    frame = read_frame(file, group)
    depths = {len(label) for label in frame.columns}
    if depths not in ({3}, {4}) or len(frame.rows) != 1:
        raise file.refusal("is no table of DeepLabCut: its columns are not (scorer, bodyparts, coords)")
    levels = LEVELS if depths == {4} else [level for level in LEVELS if level != "individuals"]
    header = {level: list(names) for level, *names in zip(levels, *frame.columns, strict=True)}
    with np.errstate(over="ignore"):  # what a float32 can't hold is no place in a frame
        return Columns(header, frame.rows[0], np.asarray(frame.values, np.float32))
