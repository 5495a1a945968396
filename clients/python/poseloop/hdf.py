"""HDF5 files that were given: no code of theirs runs, nothing outside them is read, and no array is taken at its word.

pandas and PyTables unpickle unasked whatever attribute looks like a pickle, so frames of pandas are read here by h5py.
In pandas' ``frame`` (``format="fixed"``) labels and numbers are arrays: of each axis the labels, or for several levels
their distinct labels and each entry's place among them; and of each type of number a block of columns. A
``frame_table`` (``format="table"``) is one array of records, the label of the row in ``index`` and a block of columns
in each ``values_block_0``, ``_1`` and so on, the labels of whose columns are a pickle: of that only plain values are
taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poseloop.errors import InvalidInputError
from poseloop.plain_pickle import load_plain

_MOST_LEVELS: Final = 8
_MOST_BLOCKS: Final = 20  # one for each type of number
# How h5py says that a file is not what it seems.
_DAMAGED: Final = (
    *(OSError, RuntimeError, KeyError, TypeError, ValueError, IndexError),
    *(AttributeError, MemoryError, OverflowError),
)

Labels = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PandasFrame:
    """A frame of pandas.

    Attributes:
        columns: labels, of each column a tuple with a string for each level.
        rows: labels of the rows, for each level an array of integers or strings.
        values: numbers, ``(rows, columns)``.
    """

    columns: list[tuple[str, ...]]
    rows: Labels
    values: NDArray[Any]


@contextmanager
def open_given(path: Path, remedy: str, require_room: Callable[[int], None]) -> Iterator[GivenFile]:
    """Open a file that was given, and close it again.

    Args:
        path: of the file.
        remedy: what to do instead, the end of each sentence that refuses it.
        require_room: is told how many bytes an array would take, and refuses too many.

    Raises:
        InvalidInputError: it is no HDF5 file, has links into others, or what is done with it meets damage.
    """
    import h5py

    try:
        with h5py.File(path, "r") as content:
            links: list[Any] = []
            content.visititems_links(lambda _, link: links.append(link))
            # Such a file may be none that can be read, or never end.
            if any(isinstance(link, h5py.ExternalLink) for link in links):
                raise InvalidInputError(f"{path} points into another file, so it is not read; {remedy}")
            yield GivenFile(path, content, remedy, require_room)
    except _DAMAGED as error:
        if isinstance(error, InvalidInputError):
            raise
        detail = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"{path} can't be read as HDF5 ({detail}); {remedy}") from None


@dataclass(frozen=True, eq=False)
class GivenFile:
    """An open file.

    Attributes:
        content: as h5py has it. What is no array or no attribute there fails as h5py does; `open_given` says so.
    """

    path: Path
    content: Any
    remedy: str
    require_room: Callable[[int], None]

    def refusal(self, why: str) -> InvalidInputError:
        """Return the error that says why the file is not read, and what to do."""
        return InvalidInputError(f"{self.path} {why}; {self.remedy}")

    def require_array(self, array: Any) -> None:
        """Raise InvalidInputError where an array lies in another file, or would not fit."""
        if array.external or array.is_virtual:
            raise self.refusal("points into another file, so it is not read")
        # A chunk is read as a whole, and may be larger than the array.
        self.require_room(max(math.prod(array.shape), math.prod(array.chunks or ())) * max(array.dtype.itemsize, 4))

    def frames(self) -> list[Any]:
        """Return the groups that hold a frame or another object of pandas."""
        found: list[Any] = []
        self.content.visititems(lambda _, item: found.append(item) if "pandas_type" in item.attrs else None)
        return found

    def frame(self, group: Any) -> PandasFrame:
        """Read a frame.

        Raises:
            InvalidInputError: it is none, or holds more than numbers, or labels that are neither text nor integers.
        """
        kind = text_of(group.attrs["pandas_type"])
        if kind == "frame":
            return self._fixed(group)
        if kind == "frame_table":
            return self._table(group["table"])
        raise self.refusal(f"holds no table of pandas, but {kind!r}")

    def _table(self, table: Any) -> PandasFrame:
        names = [name for name in table.dtype.names or () if name != "index"]
        blocks = [f"values_block_{number}" for number in range(len(names))]
        if sorted(names) != sorted(blocks) or len(names) == len(table.dtype.names or ()) or table.ndim != 1:
            raise self.refusal(
                f"holds no table of numbers, but {table.dtype.names or 'nothing'} of shape {table.shape}"
            )
        if not all(_is_number(table.dtype[block].base) for block in blocks):
            raise self.refusal("holds more than numbers")
        self.require_array(table)
        columns = [self._pickled_columns(table, block) for block in blocks]
        for block, labels in zip(blocks, columns, strict=True):
            if table.dtype[block].shape != (len(labels),):
                raise self.refusal(f"has {len(labels)} names for the columns of the shape {table.dtype[block].shape}")
        rows = table[()]
        values = np.concatenate([rows[block] for block in blocks], axis=1)
        return PandasFrame([label for labels in columns for label in labels], [self._plain(rows["index"])], values)

    def _pickled_columns(self, table: Any, block: str) -> list[tuple[str, ...]]:
        pickled = table.attrs[f"{block}_kind"]
        if not isinstance(pickled, bytes):  # of a number h5py and `bytes` would make as many zeros
            raise self.refusal("holds the names of its columns in a way that is not read (it is no pickle)")
        try:
            columns = load_plain(pickled)
        except ValueError as error:
            raise self.refusal(f"holds the names of its columns in a way that is not read ({error})") from None
        labels = [label if isinstance(label, tuple | list) else (label,) for label in _listed(columns)]
        if not all(isinstance(name, str | int) for label in labels for name in label):
            raise self.refusal("has columns whose names are no text")
        return [tuple(str(name) for name in label) for label in labels]

    def _fixed(self, group: Any) -> PandasFrame:
        # Of a frame without rows, pandas pickles the labels that there are none of.
        is_empty = "shape" in group["block0_values"].attrs
        rows = [np.empty(0, object)] if is_empty else self._labels(group, "axis1")
        size = len(rows[0])
        columns: list[tuple[str, ...]] = []
        values = [np.empty((size, 0))]
        for number in range(self._count(group, "nblocks", _MOST_BLOCKS)):
            items = self._labels(group, f"block{number}_items")
            block = group[f"block{number}_values"]
            if not _is_number(block.dtype):
                raise self.refusal("holds more than numbers")
            shape = (size, len(items[0]))
            numbers = np.empty(shape) if is_empty else self._array(block)
            if not block.attrs["transposed"] and not is_empty:
                numbers = numbers.T
            if numbers.shape != shape:
                raise self.refusal(
                    f"has labels for {shape[0]} rows and {shape[1]} columns, and {numbers.shape} numbers"
                )
            columns += _tuples(items)
            values.append(numbers)
        wanted, places = _tuples(self._labels(group, "axis0")), {label: place for place, label in enumerate(columns)}
        if not set(wanted) <= places.keys():
            raise self.refusal("names columns that it does not hold")
        return PandasFrame(wanted, rows, np.concatenate(values, axis=1)[:, [places[label] for label in wanted]])

    def _labels(self, group: Any, axis: str) -> Labels:
        """Return the labels of an axis, for each level those of its entries."""
        if text_of(group.attrs[f"{axis}_variety"]) != "multi":
            return [self._text(group[axis])]
        labels = []
        for level in range(self._count(group, f"{axis}_nlevels", _MOST_LEVELS)):
            distinct, places = self._text(group[f"{axis}_level{level}"]), self._array(group[f"{axis}_label{level}"])
            if places.dtype.kind not in "iu" or (len(places) and not 0 <= places.min() <= places.max() < len(distinct)):
                raise self.refusal("has rows or columns without a name")
            labels.append(distinct[places.astype(np.int64)])
        if len({len(level) for level in labels}) != 1:
            raise self.refusal("has rows or columns without a name")
        return labels

    def _text(self, array: Any) -> NDArray[Any]:
        kind = text_of(array.attrs["kind"])
        if kind not in ("string", "integer"):
            raise self.refusal(f"names rows or columns by neither text nor integers, but {kind!r}")
        return self._plain(self._array(array))

    def _plain(self, labels: NDArray[Any]) -> NDArray[Any]:
        if labels.ndim != 1 or labels.dtype.kind not in "Siu":
            raise self.refusal("names rows or columns by neither text nor integers")
        if labels.dtype.kind != "S":
            return labels
        return np.array([text_of(label) for label in labels.tolist()], object)

    def _array(self, array: Any) -> NDArray[Any]:
        self.require_array(array)
        values: NDArray[Any] = array[()]
        return values

    def _count(self, group: Any, name: str, most: int) -> int:
        count = int(group.attrs[name])
        if not 0 < count <= most:
            raise self.refusal(f"says {name} {count}")
        return count


def text_of(value: object) -> str | None:
    """Return a string of either kind; None: it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _tuples(labels: Labels) -> list[tuple[str, ...]]:
    return list(zip(*(map(str, level) for level in labels), strict=True))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(kind: Any) -> bool:
    return kind.kind in "fiub"
