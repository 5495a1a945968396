"""The file of a log: new, never another's, and whole lines only."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

from poseloop.errors import InvalidInputError

SUFFIX: Final = ".jsonl"
_TRIES: Final = 100


class LogFile:
    """Appends to a file that it has made.

    Each call of the system is given whole lines, so that only the last line of a file can be torn, by the end of
    the process in the middle of it. What a full disk leaves unwritten is kept and written first the next time.
    """

    def __init__(self, path: Path) -> None:
        """Make the file.

        Raises:
            FileExistsError: it is there.
            OSError: it can't be made.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        self._rest = b""
        self.path = path

    def append(self, lines: bytes) -> None:
        """Write whole lines; where that raises, `append` with nothing goes on where it stopped.

        Raises:
            OSError: the disk is full, or gone.
        """
        self._rest = self._rest + lines if self._rest else lines
        while self._rest:
            written = os.write(self._descriptor, self._rest)
            self._rest = self._rest[written:]

    @property
    def behind(self) -> bool:
        """Whether something is left over that could not be written."""
        return bool(self._rest)

    def sync(self) -> None:
        """Wait until the disk has what was written, so that it survives a loss of power; raises OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; what is left over is given up."""
        os.close(self._descriptor)


def create_log(folder: Path, experiment: str, started: datetime) -> LogFile:
    """Make the file of an experiment: ``EXPERIMENT_20260131T142500Z.jsonl``, or with ``-2`` and so on behind it.

    Args:
        folder: made if it is not there.
        experiment: its name; what file systems do not take in it becomes an underscore.
        started: in UTC.

    Raises:
        InvalidInputError: the folder or the file can't be made.
    """
    name = f"{file_name_of(experiment)}_{started:%Y%m%dT%H%M%SZ}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, _TRIES):
            path = folder / (f"{name}-{number}{SUFFIX}" if number > 1 else f"{name}{SUFFIX}")
            try:
                file = LogFile(path)
            except FileExistsError:
                continue
            _sync_folder(folder)
            return file
    except OSError as error:
        raise InvalidInputError(
            f"the log can't be written into {folder}: {error.strerror}; name another folder with `record:`"
        ) from None
    raise InvalidInputError(f"{folder} has {_TRIES} logs of this experiment and second; name another folder")


def file_name_of(experiment: str) -> str:
    """Return an experiment's name as part of a file's name, on any system."""
    return re.sub(r"[^\w.-]+", "_", experiment.strip()).strip("._")[:80] or "experiment"


def require_space(folder: Path, least_mib: int) -> None:
    """Check that the disk of a folder has room for a log.

    Raises:
        InvalidInputError: it has less.
    """
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path.cwd())
    free_mib = shutil.disk_usage(there).free >> 20
    if free_mib < least_mib:
        raise InvalidInputError(
            f"the disk of {folder} has {free_mib} MiB free, and a log should start with {least_mib} MiB at least; "
            "make room, or name another folder with `record:`"
        )


def _sync_folder(folder: Path) -> None:
    """Let the file's name survive a loss of power too, where folders can be synchronised."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
