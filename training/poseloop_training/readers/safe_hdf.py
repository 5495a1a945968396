"""A check that an HDF5 file written by pandas can be opened without running code that it carries.

pandas and PyTables keep names and attributes as pickles and load them unasked. Here each attribute and each array of
bytes is unpickled first by a loader that builds plain values only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from poseloop.errors import InvalidInputError
from poseloop.plain_pickle import foreign_globals


def refuse_code(file: Path) -> None:
    """Raise InvalidInputError if a pickle in the file would import anything but plain values, or it can't be told."""
    import h5py

    try:
        with h5py.File(file, "r") as content:
            links: list[Any] = []
            content.visititems_links(lambda _, link: links.append(link))
            elsewhere = any(isinstance(link, h5py.ExternalLink) for link in links)
            found = {name for data in _byte_strings(content) for name in foreign_globals(data)}
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
