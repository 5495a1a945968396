"""Poses as a CSV table, row by row as they arrive."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Self

from poseloop.errors import InvalidInputError
from poseloop.types import Pose

_FIRST_COLUMNS = ("stream", "sequence", "instance", "captured_ns", "published_ns", "age_ms")


class PoseTable:
    """A CSV file that is being written: one row an instance, three columns a keypoint; a context manager.

    Each row is written through at once, so what was received is on disk whatever happens to this program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keypoint_names: tuple[str, ...] | None = None
        try:
            self._file = path.open("w", newline="", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InvalidInputError(f"{path} can't be written: {error.strerror}") from None
        self._writer = csv.writer(self._file)

    def write(self, pose: Pose) -> None:
        """Add a pose.

        Raises:
            InvalidInputError: its keypoints are other than those of the poses before it.
        """
        if self._keypoint_names is None:
            self._keypoint_names = pose.keypoint_names
            columns = [f"{name}.{part}" for name in pose.keypoint_names for part in ("x", "y", "confidence")]
            self._writer.writerow([*_FIRST_COLUMNS, *columns])
        elif self._keypoint_names != pose.keypoint_names:
            raise InvalidInputError(
                f"stream {pose.stream} has now the keypoints of model {pose.model}, which don't fit the columns of "
                f"{self._path}; write them to another file."
            )
        stamps = pose.stamps
        for index, instance in enumerate(pose.keypoints):
            place = (pose.stream, pose.sequence, index, stamps.captured_ns, stamps.published_ns, f"{stamps.age_ms:.3f}")
            self._writer.writerow([*place, *(f"{value:.4f}" for value in instance.ravel().tolist())])

    def __enter__(self) -> Self:
        """Return the table."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()
