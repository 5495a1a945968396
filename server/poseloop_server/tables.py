"""Writes poses as the tables that DeepLabCut writes, so that DeepLabCut, movement and pandas read them.

One row a frame, columns ``(scorer, bodyparts, coords)`` with coords x, y, likelihood; with several animals
``(scorer, individuals, bodyparts, coords)``. HDF5 holds one pandas table under the key ``df_with_missing`` and, beside
it, the arrays of a SLEAP analysis file, so that SLEAP and sleap-io read the same file. x and y are pixels of the frame,
origin at the centre of its top-left pixel; an absent keypoint is empty in the csv, NaN in HDF5.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.types import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

HDF_KEY: Final = "df_with_missing"
# Of pandas' own format; it has been the same since 2014.
PANDAS_FORMAT: Final = "0.15.2"
COORDS: Final = ("x", "y", "likelihood")


class TableWriter(Protocol):
    """Takes the poses of one frame after the other; the file is there, and whole, once it is closed."""

    def add(self, keypoints: NDArray[np.float32]) -> None:
        """Append one frame: float32 ``(instances, keypoints, 3)``."""

    def close(self) -> None:
        """Finish the file and give it its name."""

    def discard(self) -> None:
        """Take away what was begun; a file of that name stays as it was."""


def scorer_of(spec: ModelSpec) -> str:
    """Return what stands for the labeller's name: ``poseloop_<model>``."""
    return f"poseloop_{spec.name}"


def instance_names(spec: ModelSpec) -> list[str]:
    """Return the names of the animals, in the order of the poses."""
    return [f"animal{number + 1}" for number in range(spec.max_animals)]


def header_of(spec: ModelSpec) -> dict[str, list[str]]:
    """Return the levels of the columns, outermost first, each with one entry a column."""
    columns = [(animal, part, coord) for animal in instance_names(spec) for part in spec.keypoints for coord in COORDS]
    animals, parts, coords = (list(level) for level in zip(*columns, strict=True))
    individuals = {"individuals": animals} if spec.max_animals > 1 else {}
    return {"scorer": [scorer_of(spec)] * len(columns), **individuals, "bodyparts": parts, "coords": coords}


class CsvTable:
    """Writes rows as they come; `close` gives the file its name."""

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self._path = path
        self._partial = partial_of(path)
        self._file: IO[str] = self._partial.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        for level, entries in header_of(spec).items():
            self._writer.writerow([level, *entries])
        self._rows = 0

    def add(self, keypoints: NDArray[np.float32]) -> None:
        """Append one frame: float32 ``(instances, keypoints, 3)``."""
        cells = ["" if math.isnan(value) else f"{value:.5f}" for value in keypoints.ravel().tolist()]
        self._writer.writerow([self._rows, *cells])
        self._rows += 1

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Take away what was begun; a file of that name stays as it was."""
        self._file.close()
        self._partial.unlink(missing_ok=True)


class HdfTable:
    """Keeps all rows and writes them at the end, since a pandas table can't grow without slowing down."""

    def __init__(self, path: Path, spec: ModelSpec, video: Path) -> None:
        self._path = path
        self._spec = spec
        self._video = video
        self._rows: list[NDArray[np.float32]] = []

    def add(self, keypoints: NDArray[np.float32]) -> None:
        """Append one frame: float32 ``(instances, keypoints, 3)``."""
        self._rows.append(keypoints.copy())

    def close(self) -> None:
        """Finish the file."""
        spec = self._spec
        poses = np.array(self._rows, np.float32).reshape(-1, spec.max_animals, len(spec.keypoints), 3)
        partial = partial_of(self._path)
        frame_of(spec, poses).to_hdf(partial, key=HDF_KEY, mode="w", format="table")
        _make_readable(partial, spec, poses, self._video)
        partial.replace(self._path)

    def discard(self) -> None:
        """Take away what was begun; a file of that name stays as it was."""
        self._rows.clear()
        partial_of(self._path).unlink(missing_ok=True)


def frame_of(spec: ModelSpec, poses: NDArray[np.float32]) -> pd.DataFrame:
    """Return poses ``(frames, instances, keypoints, 3)`` as the pandas table described above, float64."""
    import pandas as pd

    header = header_of(spec)
    columns = pd.MultiIndex.from_arrays(list(header.values()), names=list(header))
    return pd.DataFrame(poses.reshape(len(poses), -1).astype(np.float64), columns=columns, index=np.arange(len(poses)))


def _make_readable(path: Path, spec: ModelSpec, poses: NDArray[np.float32], video: Path) -> None:
    """Add what pandas 2 asks for, and the arrays of SLEAP's analysis format: tracks, coordinates, nodes, frames."""
    import tables

    def text(values: Sequence[object]) -> NDArray[np.bytes_]:
        return np.char.encode(np.array(values, dtype=np.str_), "utf-8")

    scores = poses[..., 2].transpose(1, 2, 0)
    seen = np.isfinite(poses[..., :2]).all(axis=-1).any(axis=-1)
    arrays = {
        "tracks": poses[..., :2].transpose(1, 3, 2, 0),
        "point_scores": scores,
        "instance_scores": scores.mean(axis=1),
        "tracking_scores": np.zeros((poses.shape[1], poses.shape[0]), np.float32),
        "track_occupancy": seen.astype(np.uint8),
        "track_names": text(instance_names(spec)),
        "node_names": text(spec.keypoints),
        "edge_names": text(spec.skeleton).reshape(-1, 2),
        "edge_inds": np.array([[spec.keypoints.index(name) for name in edge] for edge in spec.skeleton], np.int64),
    }
    with tables.open_file(str(path), "a") as file:
        # pandas 3 leaves it out, and pandas 2 reads no table without it.
        file.get_node(f"/{HDF_KEY}")._v_attrs.pandas_version = PANDAS_FORMAT
        for name, values in arrays.items():
            if values.size:
                file.create_array(file.root, name, np.ascontiguousarray(values))
        file.create_array(file.root, "video_path", str(video.resolve()).encode())


def partial_of(path: Path) -> Path:
    """Return where a file is written before it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


FORMATS: Final[dict[str, Callable[[Path, ModelSpec, Path], TableWriter]]] = {
    ".csv": lambda path, spec, _: CsvTable(path, spec),
    ".h5": HdfTable,
    ".hdf5": HdfTable,
}


def require_format(path: Path) -> None:
    """Check that a table can be written under this name.

    Raises:
        InvalidInputError: its ending names no format, or its folder is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"the output {path} must end in {', '.join(FORMATS)}, which decides its format")
    if not path.parent.is_dir():
        raise InvalidInputError(f"the folder {path.parent} of the output is not there; make it first")


def open_table(path: Path, spec: ModelSpec, video: Path) -> TableWriter:
    """Begin the table of a video's poses in the format of the file's ending.

    Raises:
        InvalidInputError: as `require_format`, or the file can't be written.
    """
    require_format(path)
    try:
        return FORMATS[path.suffix.lower()](path, spec, video)
    except OSError as error:
        raise InvalidInputError(f"the output {path} can't be written: {error.strerror}") from None
