"""Tracks a whole video, every frame, through the model code of the server.

One thread decodes ahead, the caller's runs the model, one draws and encodes the annotated video. Each may be a few
frames ahead of the next, so a slow step slows the others and memory stays flat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.sources import VideoSource
from poseloop.types import Frame

from poseloop_server.clip import Clip
from poseloop_server.model import PoseModel
from poseloop_server.overlay import Overlay
from poseloop_server.tables import TableWriter, open_table, partial_of, require_format
from poseloop_server.video_poses import FRAMES_AHEAD, poses_of

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class TrackResult:
    """What came of a run.

    Attributes:
        frames: tracked and written.
        seconds: from the first frame to the last file closed.
        inference_ms: median of one inference, 0 without a frame.
        interrupted: stopped before the end of the video.
    """

    frames: int
    seconds: float
    inference_ms: float
    interrupted: bool


class AnnotatedVideo:
    """Draws over images and writes them to a video file, on a thread of its own."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path = path
        self._clip = Clip(partial_of(path), frames_per_second)
        self._artist = ThreadPoolExecutor(1, "poseloop-draw")
        self._waiting: deque[Future[None]] = deque()

    def add(self, frame: Frame, draw: Callable[[Image], None]) -> None:
        """Hand over one frame, whose image is drawn on, and what draws on it."""
        self._waiting.append(self._artist.submit(self._draw, _to_bgr(frame), draw))
        if len(self._waiting) > FRAMES_AHEAD:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Draw what waits and finish the file."""
        while self._waiting:
            self._waiting.popleft().result()
        self._artist.shutdown()
        self._clip.close()
        if partial_of(self._path).exists():
            partial_of(self._path).replace(self._path)

    def discard(self) -> None:
        """Take away what was begun; a file of that name stays as it was."""
        self._artist.shutdown(cancel_futures=True)
        self._clip.close()
        partial_of(self._path).unlink(missing_ok=True)

    def _draw(self, image: Image, draw: Callable[[Image], None]) -> None:
        draw(image)
        self._clip.add(image)


@dataclass(frozen=True, slots=True)
class TrackOutputs:
    """The files of a run.

    Attributes:
        tables: csv or HDF5, by their ending.
        video: the annotated video, an ``.mp4``, or None.
    """

    tables: Sequence[Path]
    video: Path | None = None

    def check(self, *, overwrite: bool) -> None:
        """Find out before the work what would fail after it.

        Raises:
            InvalidInputError: a name has no known ending or is given twice, its folder is not there, or the file is
                and may not be lost.
        """
        for path in self.tables:
            require_format(path)
        if self.video is not None and self.video.suffix.lower() != ".mp4":
            raise InvalidInputError(f"the annotated video {self.video} must end in .mp4")
        places = [path.absolute().resolve() for path in self.all]
        for path, place in zip(self.all, places, strict=True):
            if places.count(place) > 1:
                raise InvalidInputError(f"the output {path} is given twice; give each file once")
            if not path.parent.is_dir():
                raise InvalidInputError(f"the folder {path.parent} of the output is not there; make it first")
            if path.is_dir():
                raise InvalidInputError(f"{path} is a folder; choose another name")
            if path.exists() and not overwrite:
                raise InvalidInputError(f"{path} is there already; choose another name, or replace it with --force")

    def check_apart_from(self, video: Path) -> None:
        """Check that no output would replace the video that is tracked.

        Raises:
            InvalidInputError: one would.
        """
        for path in self.all:
            if path.exists() and path.samefile(video):
                raise InvalidInputError(f"the output {path} is the video that is tracked; choose another name")

    @property
    def all(self) -> list[Path]:
        """Every file, in the order in which they were asked for."""
        return [*self.tables, *([self.video] if self.video is not None else [])]


def _to_bgr(frame: Frame) -> Image:
    image = np.asarray(frame.image)
    return image if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)


def track_video(
    video: VideoSource,
    model: PoseModel,
    outputs: TrackOutputs,
    *,
    crop: Crop | None = None,
    on_frame: Callable[[int], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrackResult:
    """Run the model on every frame and write the outputs.

    Args:
        video: as `open_video` returns it; read from its beginning, then closed.
        model: as the server runs it.
        outputs: written whole, even where the run is stopped; where it fails, files of these names stay as they were.
            Checked before with `TrackOutputs.check`.
        crop: the window that follows the one animal; None: the model sees whole frames.
        on_frame: called with the number of frames done, after each.
        stop: asked before each frame; once it says yes, the run ends with what it has.

    Raises:
        InvalidInputError: not one frame can be decoded, or an annotated video is to hold frames of several sizes.
        ModelFailedError: the model failed on a frame.
    """
    started_ns = now_ns()
    times_ms: list[float] = []
    interrupted = False
    poses = poses_of(video, model, crop)
    first = next(poses)  # before any file is made, for this is where a broken video shows
    with ExitStack() as open_files:
        tables = []
        for path in outputs.tables:
            tables.append(open_table(path, model.spec, video.path))
            finish_with(open_files, tables[-1])
        overlay = Overlay(model.spec.keypoints, model.spec.skeleton)
        annotated = AnnotatedVideo(outputs.video, video.own_frames_per_second) if outputs.video else None
        if annotated is not None:
            finish_with(open_files, annotated)
        for pose in chain([first], poses):
            if stop():
                interrupted = True
                break
            times_ms.append(pose.inference_ms)
            for table in tables:
                table.add(pose.keypoints)
            if annotated is not None:
                caption = f"frame {pose.number}"
                annotated.add(pose.frame, partial(overlay.draw, keypoints=pose.keypoints, caption=caption))
            on_frame(pose.number + 1)
    seconds = (now_ns() - started_ns) / 1e9
    return TrackResult(len(times_ms), seconds, median(times_ms) if times_ms else 0.0, interrupted)


def finish_with(open_files: ExitStack, output: TableWriter | AnnotatedVideo) -> None:
    """Close an output at the end of the run, and discard it if the run or closing it fails."""

    def finish(kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                output.close()
            except BaseException:
                output.discard()
                raise
        else:
            output.discard()

    open_files.push(finish)
