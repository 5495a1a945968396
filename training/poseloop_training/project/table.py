"""Label tables as the verbs write them: ``CollectedData_<scorer>`` and ``machinelabels-iter<N>``, each as csv and h5.

Both files say the same. DeepLabCut's newer layout is written: the image in three parts, folder, video and file, and the
columns (scorer, [individuals,] bodyparts, coords); the h5 is a pandas frame under ``df_with_missing``. Numbers are kept
to the last bit, and rows that are not touched keep their place, since frames are counted by rows.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.project.files import discard, partial_of
from poseloop_training.readers.deeplabcut_table import ONE_ANIMAL, read_cells

if TYPE_CHECKING:
    import pandas as pd

HDF_KEY: Final = "df_with_missing"
LABELS: Final = ("x", "y")
MACHINE_LABELS: Final = ("x", "y", "likelihood")
# Closer than this a label is the same: programs that keep coordinates as float32 lose no more.
SAME_PX: Final = 1e-3

Point = tuple[str, str]


@dataclass(frozen=True, eq=False)
class LabelRows:
    """The labels of the frames of one video.

    Attributes:
        video: name of the folder in ``labeled-data``.
        images: file names.
        points: (individual, bodypart) of each point; the individual of a project of one animal is ``""``.
        values: float64 ``(images, points, 2)``, or 3 with the likelihood; x and y in pixels of the image, origin at
            the centre of its top-left pixel, NaN where unlabelled.
    """

    video: str
    images: tuple[str, ...]
    points: tuple[Point, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def xy(self) -> NDArray[np.float64]:
        """Coordinates without the likelihood: ``(images, points, 2)``."""
        return self.values[..., :2]

    def only(self, rows: Sequence[int]) -> LabelRows:
        """Return these rows, in this order."""
        chosen = list(rows)
        return replace(self, images=tuple(self.images[row] for row in chosen), values=self.values[chosen])

    def ordered(self, points: Sequence[Point]) -> LabelRows:
        """Return the rows with these points, in this order; one that is not there is unlabelled."""
        values = np.full((len(self), len(points), self.values.shape[2]), np.nan)
        for place, point in enumerate(points):
            if point in self.points:
                values[:, place] = self.values[:, self.points.index(point)]
        return replace(self, points=tuple(points), values=values)


@dataclass(frozen=True, eq=False)
class Merged:
    """Rows after others were merged in, with the names of the images that are new or whose labels changed."""

    rows: LabelRows
    added: tuple[str, ...]
    changed: tuple[str, ...]


def one_animal(bodyparts: Sequence[str]) -> tuple[Point, ...]:
    """Return the points of a project of one animal."""
    return tuple((ONE_ANIMAL, part) for part in bodyparts)


def no_rows(video: str, points: Sequence[Point], coords: int = 2) -> LabelRows:
    """Return a table without a row."""
    return LabelRows(video, (), tuple(points), np.empty((0, len(points), coords)))


def merge_rows(rows: LabelRows, others: LabelRows) -> Merged:
    """Return ``rows`` with ``others`` in the place of those of the same image, new ones after them by name."""
    points = (*rows.points, *(point for point in others.points if point not in rows.points))
    old, new = rows.ordered(points), others.ordered(points)
    values, changed = old.values.copy(), []
    places = {image: row for row, image in enumerate(old.images)}
    fresh = {}
    for row, image in enumerate(new.images):
        if image not in places:
            fresh[image] = new.values[row]
        elif not _same(values[places[image]], new.values[row]):
            values[places[image]] = new.values[row]
            changed.append(image)
    added = sorted(fresh)
    values = np.concatenate([values, np.array([fresh[image] for image in added]).reshape(-1, *values.shape[1:])])
    return Merged(LabelRows(rows.video, (*old.images, *added), points, values), tuple(added), tuple(changed))


def same_rows(a: LabelRows, b: LabelRows) -> bool:
    """Return whether two tables say the same, in whatever order of rows and points."""
    if sorted(a.images) != sorted(b.images) or set(a.points) != set(b.points):
        return False
    other = b.ordered(a.points).only([b.images.index(image) for image in a.images])
    return _same(a.xy, other.xy)


def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=SAME_PX, equal_nan=True))


def read_rows(file: Path, *, likelihood: bool = False) -> LabelRows:
    """Read a csv or h5 whose rows are images of one folder.

    Raises:
        InvalidInputError: it is no such table, or an image stands twice in it.
    """
    header, names, values = read_cells(file)
    coords = MACHINE_LABELS if likelihood else LABELS
    points = tuple(dict.fromkeys((animal, part) for animal, part, _ in header))
    places = {point: place for place, point in enumerate(points)}
    cells = np.full((len(names), len(points), len(coords)), np.nan)
    for column, (animal, part, coord) in enumerate(header):
        if coord in coords:
            cells[:, places[animal, part], coords.index(coord)] = values[:, column]
    images = tuple(name.replace("\\", "/").rsplit("/", 1)[-1] for name in names)
    twice = next((image for image, times in Counter(images).items() if times > 1), None)
    if twice is not None:
        raise InvalidInputError(f"{file}: {twice} stands twice: delete one of its rows, in the csv and in the h5.")
    return LabelRows(file.parent.name, images, points, cells)


def read_both(csv_file: Path, *, likelihood: bool = False) -> LabelRows | None:
    """Read a table that lies there as csv, as h5 or as both, or return None where there is neither.

    Raises:
        InvalidInputError: one can't be read, or the two do not say the same.
    """
    found = [file for file in (csv_file, csv_file.with_suffix(".h5")) if file.is_file()]
    tables = [read_rows(file, likelihood=likelihood) for file in found]
    if len(tables) == 2 and not same_rows(*tables):
        raise InvalidInputError(
            f"{found[0]} and its .h5 do not say the same, and which one is right can't be told: delete the wrong one "
            "(labelling programs save both, so the older one is likely wrong), then run the command again."
        )
    return tables[0] if tables else None


def write_both(csv_file: Path, rows: LabelRows, scorer: str) -> None:
    """Write a table as csv and as h5; each is replaced when the new one is whole.

    Raises:
        InvalidInputError: there is no room, or no right to write.
    """
    hdf_file = csv_file.with_suffix(".h5")
    partials = [partial_of(csv_file), partial_of(hdf_file)]
    try:
        csv_file.parent.mkdir(parents=True, exist_ok=True)
        partials[0].write_bytes(_csv_bytes(rows, scorer))
        _frame(rows, scorer).to_hdf(partials[1], key=HDF_KEY, mode="w")
        # The h5 first, since it is the one that a labelling program may have open.
        partials[1].replace(hdf_file)
        partials[0].replace(csv_file)
    except OSError as error:
        raise InvalidInputError(
            f"{hdf_file} and the csv beside it can't be written ({error.strerror or error}): close what has them open, "
            "make room, or give yourself the right to write there, then run the command again."
        ) from None
    finally:
        for partial in partials:
            discard(partial)


def _header(rows: LabelRows, scorer: str) -> dict[str, list[str]]:
    coords = MACHINE_LABELS[: rows.values.shape[2]]
    columns = [(animal, part, coord) for animal, part in rows.points for coord in coords]
    animals = [animal for animal, _, _ in columns]
    individuals = {} if set(animals) <= {ONE_ANIMAL} else {"individuals": animals}
    parts, kinds = [part for _, part, _ in columns], [coord for _, _, coord in columns]
    return {"scorer": [scorer] * len(columns), **individuals, "bodyparts": parts, "coords": kinds}


def _csv_bytes(rows: LabelRows, scorer: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for level, entries in _header(rows, scorer).items():
        writer.writerow([level, "", "", *entries])
    for image, values in zip(rows.images, rows.values.reshape(len(rows), -1).tolist(), strict=True):
        cells = ["" if value != value else repr(value) for value in values]
        writer.writerow(["labeled-data", rows.video, image, *cells])
    return text.getvalue().encode()


def _frame(rows: LabelRows, scorer: str) -> pd.DataFrame:
    import pandas as pd

    def texts(values: Sequence[str]) -> pd.Index[str]:
        # pandas 3 would make strings of a kind of its own, which the pandas of DeepLabCut and napari can't read.
        return pd.Index(list(values), dtype=object)

    header = _header(rows, scorer)
    columns = pd.MultiIndex.from_arrays([texts(level) for level in header.values()], names=list(header))
    parts = (["labeled-data"] * len(rows), [rows.video] * len(rows), rows.images)
    index = pd.MultiIndex.from_arrays([texts(part) for part in parts])
    return pd.DataFrame(rows.values.reshape(len(rows), -1), index=index, columns=columns)
