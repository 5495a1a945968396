"""A check that an HDF5 file written by pandas can be opened without running code that it carries.

pandas and PyTables keep names and attributes as pickles and load them unasked. Here each attribute and each array of
bytes is unpickled first by a loader that imports nothing but numpy's own array builders.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from poseloop.errors import InvalidInputError

# What numpy needs to restore its own scalars and arrays: it builds values and calls nothing.
PLAIN_GLOBALS = frozenset(
    f"{module}.{name}"
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "_codecs")
    for name in ("dtype", "ndarray", "scalar", "_reconstruct", "_frombuffer", "encode")
)
# How PyTables reads the strings in a pickle of Python 2: it goes on to the next where one fails.
ENCODINGS = ("ASCII", "latin1", "bytes")


def refuse_code(file: Path) -> None:
    """Raise InvalidInputError if a pickle in the file would import anything but plain values, or it can't be told."""
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(file, "r") as content:
            links: list[Any] = []
            content.visititems_links(lambda _, link: links.append(link))
            elsewhere = any(isinstance(link, h5py.ExternalLink) for link in links)
            found = {name for data in _byte_strings(content) for name in _foreign_globals(data)}
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):  # what can't be read can't be checked
        raise InvalidInputError(f"{file} is no HDF5 file, or it is damaged; restore it, or use the csv.") from None
    if elsewhere:  # PyTables goes through a link, and what lies there was not looked at
        raise InvalidInputError(
            f"{file} points into another file, so it is not opened; use the csv of the same labels."
        )
    if found:
        raise InvalidInputError(
            f"{file} holds pickled objects that could run code ({', '.join(sorted(found))}), so it is not opened; "
            "use the csv of the same labels."
        )


def _byte_strings(content: Any) -> Iterator[bytes]:
    import h5py

    objects: list[Any] = [content]
    content.visititems(lambda _, item: objects.append(item))
    for item in objects:
        for value in item.attrs.values():
            if isinstance(value, bytes | str):
                yield _as_bytes(value)
            elif isinstance(value, np.ndarray) and value.dtype.kind in "SOu":
                yield from _pieces(value)
        # PyTables keeps an object as a ragged row of bytes.
        if isinstance(item, h5py.Dataset) and h5py.check_vlen_dtype(item.dtype) is not None:
            yield from _pieces(item[()])


def _pieces(values: Any) -> Iterator[bytes]:
    array = np.asarray(values)
    if array.dtype.kind == "u":
        yield array.tobytes()
        return
    for piece in array.ravel():
        if isinstance(piece, bytes | str):
            yield _as_bytes(piece)
        elif isinstance(piece, np.ndarray):
            yield piece.tobytes()


def _as_bytes(value: bytes | str) -> bytes:
    # A string of variable length is text to h5py, and the bytes of it to PyTables.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, strings and arrays, and notes instead of importing whatever else is asked for."""

    foreign: str | None = None

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in PLAIN_GLOBALS:
            return super().find_class(module, name)
        self.foreign = f"{module}.{name}"
        raise pickle.UnpicklingError(self.foreign)


def _foreign_globals(data: bytes) -> set[str]:
    """Return what unpickling ``data`` would import beyond plain values; empty where that is nothing or no pickle."""
    found = set()
    for encoding in ENCODINGS:
        unpickler = _PlainUnpickler(io.BytesIO(data), encoding=encoding)
        # Most strings are no pickles and fail in any of many ways; all that matters is what was asked for before that.
        with contextlib.suppress(Exception):
            unpickler.load()
        if unpickler.foreign is not None:
            found.add(unpickler.foreign)
    return found
