"""How files of a project are written: whole or not at all, and never over something that would be lost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

# Beside config.yaml and not in labeled-data, where labelling programs would take a copy for labels.
BACKUPS = "backups"


def partial_of(path: Path) -> Path:
    """Return where a file is written before it is whole: beside it, with a name that no program takes for labels."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash in between, finds the old one or the new one.

    Raises:
        InvalidInputError: it can't be written.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        discard(partial)
        raise InvalidInputError(
            f"{path} can't be written ({error.strerror}): close what has it open, make room, or give yourself the "
            "right to write there, then run the command again."
        ) from None


def discard(partial: Path) -> None:
    """Take away what was begun, if that can be done."""
    with suppress(OSError):
        partial.unlink()


def write_png(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write uint8 RGB ``(height, width, 3)`` as a PNG that is not there yet.

    Raises:
        InvalidInputError: there is such a file, or it can't be written.
    """
    if path.exists():
        raise InvalidInputError(
            f"{path} is there already and is left as it is: move it away if it should be made anew."
        )
    write_whole(path, encode_png(rgb))


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """Return uint8 RGB ``(height, width, 3)`` as the bytes of a PNG."""
    import cv2

    # Not imwrite, which can't write to paths with letters beyond ASCII on Windows.
    _, data = cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))
    return bytes(data.tobytes())


def back_up(project: Path, files: Sequence[Path], reason: str) -> Path | None:
    """Copy those of these files that are there to ``backups/<time>-<reason>/``, under their paths in the project.

    Returns:
        The new folder, or None if there was nothing to copy.
    """
    there = [file for file in files if file.is_file()]
    if not there:
        return None
    name = f"{datetime.now():%Y-%m-%d-%H%M%S}-{reason}"
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    folder = next(project / BACKUPS / name for name in names if not (project / BACKUPS / name).exists())
    for file in there:
        copy = folder / file.relative_to(project)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        except OSError as error:
            raise InvalidInputError(
                f"{file} can't be copied to {copy} ({error.strerror}), so nothing was changed: make room, or give "
                "yourself the right to write there."
            ) from None
    return folder
