"""Frames of pandas in HDF5 files, read without pandas and PyTables, which unpickle whatever looks like a pickle.

A ``frame`` (``format="fixed"``) keeps labels and numbers in arrays: of each axis the labels, or for several levels
their distinct labels and each entry's place among them; and of each type of number a block of columns. A
``frame_table`` (``format="table"``) is one array of records, the label of the row in ``index`` and a block of columns
in each ``values_block_0``, ``_1`` and so on; the columns' labels are pickles, of which only plain values are taken.
Labels that are neither text nor integers, and columns of Python objects, are not read.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poseloop.hdf import GivenFile, text_of
from poseloop.plain_pickle import load_plain

_MOST_COLUMNS: Final = 10_000
_MOST_LEVELS: Final = 8
_MOST_BLOCKS: Final = 20  # one for each type of number
_ENCODINGS: Final = ("utf-8", "iso8859-1", "ascii", "cp1252")
_LABEL_BYTES: Final = 200  # that a label takes here, at least

Label = tuple[str, ...]
Levels = list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PandasFrame:
    """A frame of pandas.

    Attributes:
        columns: labels, of each column a tuple with a string for each level.
        rows: labels of the rows, for each level an array of integers or strings.
        values: numbers, ``(rows, columns)``.
    """

    columns: list[Label]
    rows: Levels
    values: NDArray[Any]


def pandas_groups(file: GivenFile) -> list[Any]:
    """Return the groups that hold a frame or another object of pandas."""
    return [item for item in file.objects if "pandas_type" in item.attrs]


def read_frame(file: GivenFile, group: Any) -> PandasFrame:
    """Read a frame.

    Raises:
        InvalidInputError: it is none, or holds more than numbers, or labels that are neither text nor integers.
    """
    kind = text_of(file.attribute(group, "pandas_type"))
    if kind == "frame":
        return _Fixed(file, group).read()
    if kind == "frame_table":
        return _Table(file, group).read()
    raise file.refusal(f"holds no table of pandas, but {kind!r}")


class _Reader:
    """What both layouts have in common."""

    def __init__(self, file: GivenFile, group: Any) -> None:
        self.file = file
        self.group = group
        self.refusal = file.refusal
        self.encoding = self._encoding()

    def _encoding(self) -> str:
        given = text_of(self.file.attribute(self.group, "encoding")) if "encoding" in self.group.attrs else None
        try:
            name = codecs.lookup(given or "utf-8").name
        except LookupError:  # a pickle: that there is none
            return "utf-8"
        if name not in _ENCODINGS:
            raise self.refusal(f"holds text as {name}")
        return name

    def _says_names(self, item: Any, attribute: str) -> bool:
        return text_of(self.file.attribute(item, attribute)) in ("string", "integer")

    def labels(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return labels as integers or strings."""
        if values.ndim != 1 or values.dtype.kind not in "Siu":
            raise self.refusal("names rows or columns by neither text nor integers")
        self.file.take(len(values) * (_LABEL_BYTES + values.dtype.itemsize))
        if values.dtype.kind != "S":
            return values
        return np.array([label.decode(self.encoding) for label in values.tolist()], object)

    def arranged(self, wanted: list[Label], columns: list[Label], values: NDArray[Any]) -> NDArray[Any]:
        """Return the values of blocks of columns in the order of the frame."""
        places = {label: place for place, label in enumerate(columns)}
        if len(wanted) != len(columns) or not set(wanted) <= places.keys():
            raise self.refusal("names columns that it does not hold")
        return values[:, [places[label] for label in wanted]]


class _Fixed(_Reader):
    """Of ``format="fixed"``."""

    def read(self) -> PandasFrame:
        # Of a frame without rows, pandas pickles the labels that there are none of.
        is_empty = "shape" in self.group["block0_values"].attrs
        rows = [np.empty(0, object)] if is_empty else self._axis("axis1")
        columns: list[Label] = []
        values = [np.empty((len(rows[0]), 0))]
        for number in range(self._count("nblocks", _MOST_BLOCKS)):
            items = _tuples(self._axis(f"block{number}_items"))
            values.append(self._block(number, (len(rows[0]), len(items)), is_empty=is_empty))
            columns += items
        wanted = _tuples(self._axis("axis0"))
        return PandasFrame(wanted, rows, self.arranged(wanted, columns, np.concatenate(values, axis=1)))

    def _block(self, number: int, shape: tuple[int, int], *, is_empty: bool) -> NDArray[Any]:
        if is_empty:
            return np.empty(shape)
        block = self.group[f"block{number}_values"]
        if not _is_number(block.dtype) or "value_type" in block.attrs:
            raise self.refusal("holds more than numbers")
        numbers = self._array(block)
        numbers = numbers if self.file.attribute(block, "transposed") else numbers.T
        if numbers.shape != shape:
            raise self.refusal(f"has labels for {shape[0]} rows and {shape[1]} columns, and {numbers.shape} numbers")
        return numbers

    def _axis(self, name: str) -> Levels:
        """Return the labels of an axis, for each level those of its entries."""
        if text_of(self.file.attribute(self.group, f"{name}_variety")) != "multi":
            return [self._text(self.group[name])]
        levels = range(self._count(f"{name}_nlevels", _MOST_LEVELS))
        labels = [
            self._level(self.group[f"{name}_level{level}"], self.group[f"{name}_label{level}"]) for level in levels
        ]
        if len({len(level) for level in labels}) != 1:
            raise self.refusal("has rows or columns without a name")
        return labels

    def _level(self, distinct: Any, places: Any) -> NDArray[Any]:
        names, codes = self._text(distinct), self._array(places)
        if codes.dtype.kind not in "iu" or codes.ndim != 1:
            raise self.refusal("has rows or columns without a name")
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
            raise self.refusal("has rows or columns without a name")
        self.file.take(len(codes) * _LABEL_BYTES)
        return names[codes.astype(np.int64)]

    def _text(self, array: Any) -> NDArray[Any]:
        if not self._says_names(array, "kind"):
            raise self.refusal("names rows or columns by neither text nor integers")
        return self.labels(self._array(array))

    def _array(self, array: Any) -> NDArray[Any]:
        if array.dtype.kind not in "Siufb":
            raise self.refusal("holds more than numbers and names")
        self.file.take_array(array)
        values: NDArray[Any] = array[()]
        return values

    def _count(self, name: str, most: int) -> int:
        count = int(self.file.attribute(self.group, name))
        if not 0 < count <= most:
            raise self.refusal(f"says {name} {count}")
        return count


class _Table(_Reader):
    """Of ``format="table"``."""

    def read(self) -> PandasFrame:
        table = self.group["table"]
        names = [name for name in table.dtype.names or () if name != "index"]
        blocks = [f"values_block_{number}" for number in range(len(names))]
        if sorted(names) != sorted(blocks) or len(names) == len(table.dtype.names or ()) or table.ndim != 1:
            raise self.refusal(
                f"holds no table of numbers, but {table.dtype.names or 'nothing'} of shape {table.shape}"
            )
        if not all(_is_number(table.dtype[block].base) and self._says_number(table, block) for block in blocks):
            raise self.refusal("holds more than numbers")
        # Asked before anything is read: text of variable length may be the same long one in each row.
        if table.dtype["index"].kind not in "Siu" or not self._says_names(table, "index_kind"):
            raise self.refusal("names rows or columns by neither text nor integers")
        columns = [label for block in blocks for label in self._columns(table, block)]
        self.file.take_array(table)
        rows = table[()]
        labels = self.labels(rows["index"])
        values = np.concatenate([rows[block] for block in blocks], axis=1)
        if len(blocks) > 1:
            wanted = self._wanted()
            columns, values = wanted, self.arranged(wanted, columns, values)
        return PandasFrame(columns, [labels], values)

    def _says_number(self, table: Any, block: str) -> bool:
        """Return whether a block's integers are no times."""
        name = f"{block}_dtype"
        kind = text_of(self.file.attribute(table, name)) if name in table.attrs else "float64"
        return kind is not None and kind.startswith(("float", "int", "uint", "bool"))

    def _columns(self, table: Any, block: str) -> list[Label]:
        columns = self._plain(table, f"{block}_kind")
        if table.dtype[block].shape != (len(columns),):
            raise self.refusal(f"has {len(columns)} names for the columns of the shape {table.dtype[block].shape}")
        return self._labels_of(columns)

    def _wanted(self) -> list[Label]:
        axes = self._plain(self.group, "non_index_axes")
        if len(axes) != 1 or not isinstance(axes[0], tuple | list) or len(axes[0]) != 2:
            raise self.refusal("does not say the order of its columns")
        return self._labels_of(axes[0][1])

    def _plain(self, item: Any, name: str) -> list[Any]:
        """Return the list in an attribute that is a pickle."""
        pickled = self.file.attribute(item, name)
        if not isinstance(pickled, bytes):  # of a number h5py and `bytes` would make as many zeros
            raise self.refusal("holds the names of its columns in a way that is not read (it is no pickle)")
        try:
            values = load_plain(pickled)
        except ValueError as error:
            raise self.refusal(f"holds the names of its columns in a way that is not read ({error})") from None
        return values if isinstance(values, list) else []

    def _labels_of(self, columns: Any) -> list[Label]:
        if not isinstance(columns, list) or len(columns) > _MOST_COLUMNS:
            raise self.refusal(f"names no columns, or more than {_MOST_COLUMNS}")
        labels = [label if isinstance(label, tuple | list) else (label,) for label in columns]
        for label in labels:
            if len(label) > _MOST_LEVELS or not all(isinstance(name, str | int) for name in label):
                raise self.refusal("has columns whose names are no text")
        return [tuple(str(name) for name in label) for label in labels]


def _tuples(levels: Levels) -> list[Label]:
    return list(zip(*(map(str, level) for level in levels), strict=True))


def _is_number(kind: Any) -> bool:
    return kind.kind in "fiub"
