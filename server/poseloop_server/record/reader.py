"""A log, line by line, checked; as much of it in memory as one line takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from poseloop.errors import InvalidInputError
from pydantic import TypeAdapter, ValidationError

from poseloop_server.record.entries import FORMAT, Entry, Header

MAX_LINE_BYTES: Final = 16 << 20
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
_HEADER: TypeAdapter[Header] = TypeAdapter(Header)


class DamagedLogError(InvalidInputError):
    """A log holds something that no log should; the text says in which line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: counted from 1.
        raw: as it stands in the file, with its newline.
        entry: what it says.
    """

    number: int
    raw: bytes
    entry: Entry


class Log:
    """A log that can be read as often as needed.

    A last line without its newline is what the end of a process or of power leaves; it is left out, and ``torn`` says
    so. Anything else that is not as it should be is refused, when it is come to.

    Args:
        path: of the file.

    Raises:
        InvalidInputError: there is no such file, it is no log, or one of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        """Whether the last line is not whole; known once all lines were read."""
        self.header = self._read_header()

    def lines(self) -> Iterator[Line]:
        """Yield the lines after the header, the oldest first.

        Raises:
            DamagedLogError: a line is not what it should be.
        """
        with self._open() as file:
            file.readline(MAX_LINE_BYTES)
            number = 1
            while raw := file.readline(MAX_LINE_BYTES):
                number += 1
                if not raw.endswith(b"\n"):
                    if len(raw) == MAX_LINE_BYTES:
                        raise DamagedLogError(f"{self.path}:{number}: the line is too long; the log is damaged here")
                    self.torn = True
                    return
                yield Line(number, raw, self._entry(number, raw))

    def entries(self) -> Iterator[Entry]:
        """Yield what `lines` say."""
        return (line.entry for line in self.lines())

    def _entry(self, number: int, raw: bytes) -> Entry:
        try:
            return _ENTRY.validate_json(raw)
        except ValidationError as error:
            raise DamagedLogError(
                f"{self.path}:{number}: the log is damaged here: {_first(error)}; what stands before this line can be "
                f"used, such as with `head -n {number - 1}`"
            ) from None

    def _read_header(self) -> Header:
        with self._open() as file:
            raw = file.readline(MAX_LINE_BYTES)
        if not raw.endswith(b"\n"):
            what = "is empty" if not raw else "holds no whole line"
            raise InvalidInputError(f"the log {self.path} {what}: it ended as it began, or it is no log of poseloop")
        try:
            header = _HEADER.validate_json(raw)
        except ValidationError as error:
            raise InvalidInputError(
                f"{self.path} is no log of poseloop: its first line is no header ({_first(error)}); "
                "give a .jsonl file that `poseloop serve --loop` has written"
            ) from None
        if header.format > FORMAT:
            raise InvalidInputError(
                f"the log {self.path} has the format {header.format}, and this version of poseloop reads up to "
                f"{FORMAT}; use version {header.versions.get('poseloop', 'that wrote it')} or later"
            )
        return header

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InvalidInputError(f"the log {self.path} can't be read: {error.strerror}; check the path") from None


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    where = ".".join(str(part) for part in one["loc"])
    message = one["msg"]
    with suppress(KeyError):
        message = f"{message} ({str(one['input'])[:60]})" if where and not isinstance(one["input"], dict) else message
    return f"{where}: {message}" if where else message
