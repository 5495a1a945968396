"""Pickles that hold numbers, strings and arrays only, as pandas and PyTables keep names in HDF5 files.

Nothing that a pickle names is imported or called, numpy's own builders neither: told the right things, they take any
amount of memory, or make an array of pointers out of bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

# How PyTables reads the strings in a pickle of Python 2: it goes on to the next where one fails.
ENCODINGS: Final = ("ASCII", "latin1", "bytes")
FAR_MEMO: Final = "more memory than it holds"
SHARING: Final = "more time than anyone waits"
# Tuples of the same tuples, each in twice, are hashed in twice the time for each level.
_MOST_SHARED: Final = 16
_HASHING: Final = frozenset({"DICT", "EMPTY_DICT", "EMPTY_SET", "FROZENSET"})
_CODES: Final = {operation.code: operation for operation in pickletools.opcodes}
_NUMBERING: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETTING: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})
_LENGTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_PLAIN_DTYPE: Final = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O8?")
_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")


def load_plain(data: bytes) -> Any:
    """Return the numbers and strings, in tuples and lists, that a pickle holds.

    Raises:
        ValueError: it is damaged, or asks for anything else.
    """
    operations = _Operations(data)
    if operations.far:
        raise ValueError(f"it would take {FAR_MEMO}")
    if operations.names & _HASHING:
        raise ValueError("it holds more than lists of names")
    unpickler = _Nothing(io.BytesIO(data), encoding="latin1")
    try:
        return unpickler.load()
    except Exception as error:  # a damaged pickle fails in any of many ways
        raise ValueError(f"it would import {unpickler.foreign}" if unpickler.foreign else str(error)) from None


def foreign_globals(data: bytes) -> set[str]:
    """Return what unpickling ``data`` would import or take beyond plain values; empty where nothing, or no pickle."""
    operations = _Operations(data)
    if operations.far:
        return {FAR_MEMO}
    if operations.names & _HASHING and operations.shared > _MOST_SHARED:
        return {SHARING}
    found = set()
    for encoding in ENCODINGS:
        unpickler = _Checking(io.BytesIO(data), encoding=encoding)
        try:
            unpickler.load()
        except Exception:
            # Most strings are no pickles and fail in any of many ways. Where one fails here on a value of numpy's, it
            # might not fail elsewhere, and what comes after it was not looked at.
            if unpickler.foreign is not None:
                found.add(unpickler.foreign)
    return found


class _Operations:
    """What a pickle would do, without doing it.

    Attributes:
        names: of its operations.
        far: it numbers a value beyond its own length; the unpickler has a place for each number up to the highest,
            however few of them are used.
        shared: how often it takes a value again that is more than a string.
    """

    def __init__(self, data: bytes) -> None:
        self.names: set[str] = set()
        self.far = False
        self.shared = 0
        self._most = len(data)
        self._numbers: set[int] = set()
        self._strings: set[int] = set()
        self._read(io.BytesIO(data))

    def _read(self, stream: io.BytesIO) -> None:
        last: str | None = None
        while not self.far and (operation := _CODES.get(stream.read(1).decode("latin1"))):
            takes = bool(operation.stack_before) or operation.name in _NUMBERING
            # Where there is nothing to be taken the unpickler fails.
            if takes and (last is None or (last == "MARK" and operation.name in _NUMBERING)):
                return
            self.names.add(operation.name)
            self._note(operation.name, self._argument(stream, operation), last)
            last = operation.name if operation.stack_after or last else None
            if operation.name == "STOP":
                return

    def _argument(self, stream: io.BytesIO, operation: pickletools.OpcodeInfo) -> bytes:
        size = 0 if operation.arg is None else operation.arg.n
        if size == pickletools.UP_TO_NEWLINE:
            argument = stream.readline()
            if operation.name in ("GLOBAL", "INST"):
                stream.readline()
            return argument
        if size < 0:
            size = int.from_bytes(stream.read(_LENGTHS[size]), "little")
        return stream.read(min(size, self._most))

    def _note(self, name: str, argument: bytes, last: str | None) -> None:
        if name == "DUP":
            self.shared += 1
        if name not in _NUMBERING | _GETTING and name != "MEMOIZE":
            return
        try:
            text = argument.partition(b"\0")[0]  # as far as the unpickler reads
            number = int(text) if name in ("PUT", "GET") else int.from_bytes(argument, "little")
        except ValueError:  # no number: the unpickler stops there, too
            return
        if name in _GETTING:
            self.shared += number not in self._strings
            return
        number = len(self._numbers) if name == "MEMOIZE" else number
        self.far = number > self._most
        self._numbers.add(number)
        if last is not None and ("STRING" in last or "UNICODE" in last):
            self._strings.add(number)
        else:
            self._strings.discard(number)


class _Nothing(pickle.Unpickler):
    """Notes instead of importing what is asked for."""

    foreign: str | None = None

    def find_class(self, module: str, name: str) -> Any:
        self.foreign = f"{module}.{name}"
        raise pickle.UnpicklingError(self.foreign)


class _Checking(pickle.Unpickler):
    """Takes values of numpy's apart without building them, and fails on whatever else is asked for.

    Attributes:
        foreign: the last thing that was asked for.
    """

    foreign: str | None = None

    def find_class(self, module: str, name: str) -> Any:
        self.foreign = f"{module}.{name}"
        if self.foreign not in _KNOWN:
            raise pickle.UnpicklingError(self.foreign)
        return _KNOWN[self.foreign]


class _Dtype:
    """Numbers, strings or objects, no fields; the state must be the one that numpy itself would write."""

    def __init__(self, name: str | bytes, *options: object) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not _PLAIN_DTYPE.fullmatch(text) or options != (False, True):  # a copy, not the one that all share
            raise pickle.UnpicklingError(f"dtype {text}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        own: Any = self.dtype.__reduce__()[2]
        *fields, flags = state[2:]
        known_flags = {own[-1]} if self.dtype.hasobject else {own[-1], 0}  # older numpy had none for strings
        if fields != list(own[2:-1]) or flags not in known_flags:
            raise pickle.UnpicklingError(f"forged dtype {self.dtype}")


class _Array:
    """An array whose contents are as large as its shape says."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, contents = state
        size = math.prod(shape) * (1 if dtype.dtype.hasobject else dtype.dtype.itemsize)
        is_list = isinstance(contents, list)
        if min(shape, default=0) < 0 or is_list is not dtype.dtype.hasobject or len(contents) != size:
            raise pickle.UnpicklingError("forged array")


def _array(kind: object, shape: tuple[int, ...], *_: object) -> _Array:
    if kind is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("forged array")
    return _Array()


def _scalar(dtype: _Dtype, contents: str | bytes) -> float:
    if dtype.dtype.hasobject or len(contents) != dtype.dtype.itemsize:
        raise pickle.UnpicklingError("forged scalar")
    return 0.0


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", b"latin1"):  # some take the square of the length
        raise pickle.UnpicklingError(f"encoding {encoding}")
    return text.encode("latin1")


_NDARRAY: Final = object()
_KNOWN: Final[dict[str, Callable[..., Any] | object]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _NDARRAY,
    "_codecs.encode": _encode,
    **{f"{module}._reconstruct": _array for module in _MULTIARRAY},
    **{f"{module}.scalar": _scalar for module in _MULTIARRAY},
}
