"""HDF5 files that were given: nothing outside them is read, and what they promise is not taken at its word.

A file of a few kilobytes may say that it holds terabytes, lead into other files, into a pipe that never ends, or in a
circle. So all its links are followed first, and whoever reads an array asks for room before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from poseloop.errors import InvalidInputError, PoseloopError

_MOST_LINKS: Final = 100_000
_MOST_DEPTH: Final = 16
_MOST_CHUNKS: Final = 1_000_000
_MOST_ATTRIBUTE_BYTES: Final = 1 << 20


@contextmanager
def open_given(path: Path, remedy: str, require_room: Callable[[int], None]) -> Iterator[GivenFile]:
    """Open a file that was given, and close it again.

    Args:
        path: of the file.
        remedy: what to do instead, the end of each sentence that refuses it.
        require_room: is told how many bytes its arrays have taken so far, and refuses too many.

    Raises:
        InvalidInputError: it is no HDF5 file, has links into others, or what is done with it meets damage.
    """
    import h5py

    try:
        with h5py.File(path, "r") as content:
            yield GivenFile(path, content, remedy, require_room)
    except PoseloopError:
        raise
    except Exception as error:  # h5py meets damage in any of many ways, with a SystemError among them
        detail = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"{path} can't be read as HDF5 ({detail}); {remedy}") from None


@dataclass(eq=False)
class GivenFile:
    """An open file.

    Attributes:
        content: as h5py has it. What it fails with, `open_given` makes a sentence of.
        objects: the groups and arrays in the file, but for its root.
    """

    path: Path
    content: Any
    remedy: str
    require_room: Callable[[int], None]
    objects: list[Any] = field(init=False)
    _taken: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.objects = self._objects()

    def refusal(self, why: str) -> InvalidInputError:
        """Return the error that says why the file is not read, and what to do."""
        return InvalidInputError(f"{self.path} {why}; {self.remedy}")

    def take(self, size: int) -> None:
        """Ask for room for so many bytes more."""
        self._taken += size
        self.require_room(self._taken)

    def take_array(self, array: Any) -> None:
        """Ask for room for an array; of strings of variable length, for what leads to them."""
        size, chunk = math.prod(array.shape), math.prod(array.chunks or ())
        # A chunk is read as a whole, and may be larger than the array.
        self.take(max(size, chunk) * max(array.dtype.itemsize, 4))
        if chunk and size > _MOST_CHUNKS * chunk:
            raise self.refusal(f"holds {array.name} in too many pieces")

    def attribute(self, item: Any, name: str) -> Any:
        """Return an attribute that is one number or one string of a length that stands in the file."""
        stored = item.attrs.get_id(name)
        if stored.shape != () or stored.dtype.hasobject or stored.get_storage_size() > _MOST_ATTRIBUTE_BYTES:
            raise self.refusal(f"holds no single value in {name} of {item.name}")
        return item.attrs[name]

    def _objects(self) -> list[Any]:
        """Follow all links; those into other files are refused.

        h5py's own ways of doing so go through the file's names from the root for each link, or nest C calls as deep as
        its groups.
        """
        import h5py

        found: list[Any] = []
        seen: set[int] = set()
        waiting = [(self.content, 0)]
        while waiting:
            group, depth = waiting.pop()
            if depth > _MOST_DEPTH or len(group) + len(found) > _MOST_LINKS:
                raise self.refusal("holds more groups or arrays than can be gone through")
            for name in group:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    raise self._elsewhere()
                if not isinstance(link, h5py.HardLink):
                    continue
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                found.append(item)
                if isinstance(item, h5py.Group):
                    waiting.append((item, depth + 1))
                elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                    raise self._elsewhere()
        return found

    def _elsewhere(self) -> InvalidInputError:
        return self.refusal("points into another file, so it is not read")


def text_of(value: object) -> str | None:
    """Return a string of either kind; None: it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
