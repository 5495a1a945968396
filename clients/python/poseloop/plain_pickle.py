"""Pickles that hold numbers and strings in tuples and lists only, as pandas keeps names of columns in HDF5 files.

Nothing that a pickle names is imported or called, numpy's own builders neither: told the right things, they take any
amount of memory, or make an array of pointers out of bytes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, Final

# Tuples of the same tuples, each in twice, are hashed in twice the time for each level.
_HASHING: Final = frozenset({"DICT", "EMPTY_DICT", "EMPTY_SET", "FROZENSET"})
_NUMBERING: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def load_plain(data: bytes) -> Any:
    """Return the numbers and strings, in tuples and lists, that a pickle holds.

    Raises:
        ValueError: it is damaged, or asks for anything else.
    """
    _require_small(data)
    unpickler = _Nothing(io.BytesIO(data), encoding="latin1")
    try:
        return unpickler.load()
    except Exception as error:  # a damaged pickle fails in any of many ways
        raise ValueError(f"it would import {unpickler.foreign}" if unpickler.foreign else str(error)) from None


def _require_small(data: bytes) -> None:
    """Go through what a pickle would do, without doing it."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in _HASHING:
            raise ValueError("it holds more than lists of names")
        # The unpickler has a place for each number up to the highest, however few of them are used.
        if operation.name in _NUMBERING and argument is not None and argument > len(data):
            raise ValueError("it would take more memory than it holds")


class _Nothing(pickle.Unpickler):
    """Notes instead of importing what is asked for."""

    foreign: str | None = None

    def find_class(self, module: str, name: str) -> Any:
        self.foreign = f"{module}.{name}"
        raise pickle.UnpicklingError(self.foreign)
