"""Tracks a whole video, every frame, through the model code of the server.

One thread decodes ahead, the caller's runs the model, one draws and encodes the annotated video. Each may be a few
frames ahead of the next, so a slow step slows the others and memory stays flat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.images import to_model_color
from poseloop.sources import VideoSource
from poseloop.types import Frame

from poseloop_server.clip import Clip
from poseloop_server.following import Following, Pixels
from poseloop_server.model import PoseModel
from poseloop_server.overlay import Overlay
from poseloop_server.tables import TableWriter, open_table, partial_of, require_format

Image = NDArray[np.uint8]

FRAMES_AHEAD: Final = 8


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


def open_video(path: Path) -> VideoSource:
    """Open a video to be tracked: every frame, as fast as frames are taken.

    Raises:
        InvalidInputError: it is not there, or no video.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no video {path}")
    return VideoSource(path, None, paced=False, loop=False)


def decoded_ahead(video: VideoSource) -> Iterator[Frame]:
    """Yield every frame of a video, which a thread of its own decodes a few frames ahead; then close it.

    Raises:
        InvalidInputError: not one frame can be decoded.
    """
    frames = iter(video)
    with video, ThreadPoolExecutor(1, "poseloop-decode") as decoder:
        ahead = deque(decoder.submit(next, frames, None) for _ in range(FRAMES_AHEAD))
        while (frame := ahead.popleft().result()) is not None:
            ahead.append(decoder.submit(next, frames, None))
            yield frame


class AnnotatedVideo:
    """Draws poses over images and writes them to a video file, on a thread of its own."""

    def __init__(self, path: Path, frames_per_second: float, overlay: Overlay) -> None:
        self._path = path
        self._clip = Clip(partial_of(path), frames_per_second)
        self._overlay = overlay
        self._artist = ThreadPoolExecutor(1, "poseloop-draw")
        self._waiting: deque[Future[None]] = deque()

    def add(self, frame: Frame, keypoints: NDArray[np.float32], number: int) -> None:
        """Hand over one frame, whose image is drawn on, and its pose ``(instances, keypoints, 3)``."""
        self._waiting.append(self._artist.submit(self._draw, _to_bgr(frame), keypoints, f"frame {number}"))
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

    def _draw(self, image: Image, keypoints: NDArray[np.float32], caption: str) -> None:
        self._overlay.draw(image, keypoints, caption)
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
    following = None if crop is None else Following(crop, model.spec)
    frames = decoded_ahead(video)
    first = next(frames)  # before any file is made, for this is where a broken video shows
    with ExitStack() as open_files:
        tables = []
        for path in outputs.tables:
            tables.append(open_table(path, model.spec, video.path))
            _finish_with(open_files, tables[-1])
        overlay = Overlay(model.spec.keypoints, model.spec.skeleton)
        annotated = AnnotatedVideo(outputs.video, video.own_frames_per_second, overlay) if outputs.video else None
        if annotated is not None:
            _finish_with(open_files, annotated)
        for number, frame in enumerate(chain([first], frames)):
            if stop():
                interrupted = True
                break
            before_ns = now_ns()
            pixels = Pixels(np.asarray(frame.image), frame.format)
            if following is not None:
                keypoints = following.find(pixels, model.infer)
            else:
                image = to_model_color(pixels.image, pixels.format, model.spec.color)
                keypoints = model.infer(image[np.newaxis])[0]
            times_ms.append((now_ns() - before_ns) / 1e6)
            for table in tables:
                table.add(keypoints)
            if annotated is not None:
                annotated.add(frame, keypoints, number)
            on_frame(number + 1)
    seconds = (now_ns() - started_ns) / 1e9
    return TrackResult(len(times_ms), seconds, median(times_ms) if times_ms else 0.0, interrupted)


def _finish_with(open_files: ExitStack, output: TableWriter | AnnotatedVideo) -> None:
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
