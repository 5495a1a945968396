"""DeepLabCut's label tables: one row an image, columns (scorer, [individual,] bodypart, coordinate).

The csv comes in two styles: the image as one path in the first column, or, newer, in three columns of folder, video and
file. The h5 is a pandas frame, which is read without pandas, so that a stranger's labels never run a stranger's code.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.hdf import open_given
from poseloop.pandas_hdf import pandas_groups, read_frame

ONE_ANIMAL = ""
HEADER_ROWS = ("scorer", "individuals", "bodyparts", "coords")
MOST_BYTES: Final = 1 << 30
"""Of all arrays and labels of an h5: half a million frames of 60 keypoints."""
_CSV_INSTEAD: Final = "restore it, or use the csv of the same labels"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """For each row the image's path, for each (individual, bodypart) float32 ``(rows, 2)``, NaN where unlabelled."""

    paths: tuple[Path, ...]
    columns: dict[tuple[str, str], NDArray[np.float32]]

    @property
    def animals(self) -> tuple[str, ...]:
        """Individuals that are labelled somewhere; the one of a single-animal table is called ``""``."""
        labelled = (animal for (animal, _), xy in self.columns.items() if np.isfinite(xy).any())
        return tuple(dict.fromkeys(labelled))

    def bodyparts_of(self, animals: Sequence[str]) -> tuple[str, ...]:
        """Bodyparts that these individuals have columns for, in the order of the columns."""
        return tuple(dict.fromkeys(part for animal, part in self.columns if animal in animals or not animals))

    def keypoints(self, animals: Sequence[str], bodyparts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 ``(rows, animals, bodyparts, 2)``; NaN where there is no such column."""
        shape = (len(self.paths), max(len(animals), 1), len(bodyparts), 2)
        keypoints = np.full(shape, np.nan, dtype=np.float32)
        for (animal, part), xy in self.columns.items():
            if animal in animals and part in bodyparts:
                keypoints[:, animals.index(animal), bodyparts.index(part)] = xy
        # A point of which one coordinate is missing is no point.
        keypoints[np.isnan(keypoints).any(axis=3)] = np.nan
        return keypoints


def read_table(file: Path) -> LabelTable:
    """Read a ``CollectedData_*.csv`` or ``.h5``.

    Raises:
        InvalidInputError: it is not such a table; a csv's text names the line.
    """
    header, names, values = read_cells(file)
    columns: dict[tuple[str, str], NDArray[np.float32]] = {}
    for column, (animal, part, coordinate) in enumerate(header):
        if coordinate not in ("x", "y"):  # stray likelihoods of refined machine labels
            continue
        xy = columns.setdefault((animal, part), np.full((len(names), 2), np.nan, dtype=np.float32))
        xy[:, "xy".index(coordinate)] = values[:, column]
    if not columns:
        raise InvalidInputError(f"{file} has no columns with coordinates x and y; export the labels from DeepLabCut.")
    return LabelTable(_image_paths(file, names), columns)


_Contents = tuple[list[tuple[str, str, str]], list[str], NDArray[np.float64]]


def read_cells(file: Path) -> _Contents:
    """Return a table as it stands: (individual, bodypart, coordinate) of columns, images of rows, float64 values.

    Raises:
        InvalidInputError: it is not such a table; a csv's text names the line.
    """
    return _read_h5(file) if file.suffix == ".h5" else _read_csv(file)


def _read_csv(file: Path) -> _Contents:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = [(number, line) for number, line in enumerate(csv.reader(stream), 1) if any(line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{file} is not a text table ({error}); export the labels from DeepLabCut.") from None
    heads = {line[0]: line for _, line in lines[:4] if line[0] in HEADER_ROWS}
    if not {"scorer", "bodyparts", "coords"} <= heads.keys():
        raise InvalidInputError(
            f"{file} does not start with DeepLabCut's header rows scorer, bodyparts, coords; export the labels from "
            "DeepLabCut, or give a COCO .json or SLEAP .slp file."
        )
    coords = heads["coords"]
    first = next((place for place, cell in enumerate(coords) if place and cell), len(coords))
    rows = lines[len(heads) :]
    header = _header(file, heads, first)
    names = ["/".join(line[:first]) for _, line in rows]
    values = np.array([_numbers(file, number, line, first, len(coords)) for number, line in rows])
    return header, names, values.reshape(len(names), len(header))


def _header(file: Path, heads: dict[str, list[str]], first: int) -> list[tuple[str, str, str]]:
    width = len(heads["coords"])
    animals = heads.get("individuals", [ONE_ANIMAL] * width)
    bodyparts = heads["bodyparts"]
    if not len(animals) == len(bodyparts) == width:
        raise InvalidInputError(f"{file}: its header rows differ in length; export the labels from DeepLabCut again.")
    header = list(zip(animals[first:], bodyparts[first:], heads["coords"][first:], strict=True))
    return _unique(file, header)


def _unique(file: Path, header: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    twice = next((column for column, times in Counter(header).items() if times > 1), None)
    if twice is not None:
        raise InvalidInputError(f"{file}: the column {' '.join(twice).strip()} stands twice; delete one of them.")
    return header


def _numbers(file: Path, number: int, line: list[str], first: int, width: int) -> list[float]:
    if len(line) != width:
        raise InvalidInputError(f"{file}, line {number}: {len(line)} columns instead of {width}; correct that line.")
    cells = []
    for cell in line[first:]:
        try:
            cells.append(float(cell) if cell.strip() else np.nan)
        except ValueError:
            raise InvalidInputError(f"{file}, line {number}: {cell!r} is no number; correct it or empty it.") from None
    return cells


def _read_h5(file: Path) -> _Contents:
    def require_room(size: int) -> None:
        if size > MOST_BYTES:
            raise InvalidInputError(
                f"{file} is damaged: what it holds would take more than {MOST_BYTES >> 30} GiB; {_CSV_INSTEAD}."
            )

    with open_given(file, f"{_CSV_INSTEAD}.", require_room) as content:
        groups = pandas_groups(content)
        if len(groups) != 1:
            raise content.refusal(f"holds {len(groups)} tables of pandas, and one is needed")
        frame = read_frame(content, groups[0])
        if {len(label) for label in frame.columns} not in ({3}, {4}):
            raise content.refusal("is no DeepLabCut table: its columns are not (scorer, bodyparts, coords)")
    header = [(label[1] if len(label) == 4 else ONE_ANIMAL, label[-2], label[-1]) for label in frame.columns]
    names = ["/".join(map(str, row)) for row in zip(*(level.tolist() for level in frame.rows), strict=True)]
    return _unique(file, header), names, frame.values.astype(np.float64)


def _image_paths(file: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """Return where the rows' images are: ``labeled-data/<video>/<image>`` in the project, with either slash.

    Where the table's folder was renamed or moved out of its project, the rows still say the old name; then the images
    are looked for beside the table, but only if all rows are of one folder, so that none takes another's image.
    """
    split = [tuple(name.replace("\\", "/").split("/")) for name in names]
    here = file.parent
    of_one_folder = len({parts[:-1] for parts in split}) <= 1
    roots = (file.absolute().parents[2] if len(file.absolute().parents) > 2 else here, here)
    paths = []
    for parts in split:
        candidates = [root.joinpath(*parts) for root in roots]
        if of_one_folder or parts[-2:-1] == (here.name,):
            candidates.append(here / parts[-1])
        paths.append(next((path for path in candidates if path.is_file()), candidates[-1]))
    return tuple(paths)
