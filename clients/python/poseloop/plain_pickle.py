"""Pickles that hold numbers, strings and arrays only, as pandas and PyTables keep names in HDF5 files.

The loader imports nothing but numpy's own array builders, so that no code of a file runs; whatever else is asked for is
noted instead.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any, Final

# What numpy needs to restore its own scalars and arrays: it builds values and calls nothing.
PLAIN_GLOBALS: Final = frozenset(
    f"{module}.{name}"
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "_codecs")
    for name in ("dtype", "ndarray", "scalar", "_reconstruct", "_frombuffer", "encode")
)
# How PyTables reads the strings in a pickle of Python 2: it goes on to the next where one fails.
ENCODINGS: Final = ("ASCII", "latin1", "bytes")


def load_plain(data: bytes) -> Any:
    """Return what a pickle holds.

    Raises:
        ValueError: it is damaged, or asks for anything but plain values.
    """
    unpickler = _PlainUnpickler(io.BytesIO(data), encoding="latin1")
    try:
        return unpickler.load()
    except Exception as error:  # a damaged pickle fails in any of many ways
        raise ValueError(f"it would import {unpickler.foreign}" if unpickler.foreign else str(error)) from None


def foreign_globals(data: bytes) -> set[str]:
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


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, strings and arrays, and notes instead of importing whatever else is asked for."""

    foreign: str | None = None

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in PLAIN_GLOBALS:
            return super().find_class(module, name)
        self.foreign = f"{module}.{name}"
        raise pickle.UnpicklingError(self.foreign)
