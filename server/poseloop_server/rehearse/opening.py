"""From what is asked for on the command line to a recording."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.sources import VideoSource

from poseloop_server.following import require_croppable
from poseloop_server.model import PoseModel
from poseloop_server.record.log_file import SUFFIX as LOG_SUFFIX
from poseloop_server.rehearse.log import LogRecording
from poseloop_server.rehearse.recording import Recording, Timing
from poseloop_server.rehearse.table import PoseTable, TableRecording, read_table
from poseloop_server.rehearse.video import VideoRecording
from poseloop_server.tables import open_table
from poseloop_server.track import TrackOutputs, finish_with
from poseloop_server.video_poses import decoded_ahead, open_video

DEFAULT_LATENCY_MS: Final = 10.0
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to rehearse on.

    Attributes:
        video: a video, or with ``poses`` the one that they are of.
        poses: a table or a log.
        fps: frames a second; None: the video's own.
        size: ``WIDTHxHEIGHT`` of the frames; None: the video's own.
        latency_ms: from capture to decision; None: what a log has, and `DEFAULT_LATENCY_MS` elsewhere.
        stream: its name, where it was given.
        pictures: whether the frames are needed, to be drawn on.

    Raises:
        InvalidInputError: they contradict one another, or a number is out of its range.
    """

    video: Path | None
    poses: Path | None
    fps: float | None = None
    size: str | None = None
    latency_ms: float | None = None
    stream: str | None = None
    pictures: bool = False

    def __post_init__(self) -> None:
        if self.is_log and (self.video or self.fps or self.size):
            raise InvalidInputError(
                f"the log {self.poses} has its own times and sizes; leave out --video, --fps and --size"
            )
        if self.pictures and self.video is None:
            raise InvalidInputError("a clip needs the frames; give the video with --video")

    @property
    def is_log(self) -> bool:
        """Whether the poses are those of an experiment."""
        return self.poses is not None and self.poses.suffix.lower() == LOG_SUFFIX

    @property
    def latency_ns(self) -> int:
        """From capture to decision, where a recording has no times of its own."""
        return round((DEFAULT_LATENCY_MS if self.latency_ms is None else self.latency_ms) * 1e6)


@dataclass(frozen=True, slots=True)
class Opened:
    """A recording, and what is known of it.

    Attributes:
        recording: to be gone through once.
        latency_ms: from capture to decision; None: what a log has.
        stream: its name, where it has one or one was asked for.
        model: name of the model that finds the poses; None: it is not known.
        skeleton: of that model, edges by keypoint name.
        fps: frames a second; 0 for a log, whose frames have their own times.
    """

    recording: Recording
    latency_ms: float | None
    stream: str | None = None
    model: str | None = None
    skeleton: tuple[tuple[str, str], ...] = ()
    fps: float = 0.0


def open_poses(wanted: Wanted) -> Opened | None:
    """Open recorded poses; None: none are asked for.

    Raises:
        InvalidInputError: they can't be read, or it is not known how fast or how large the frames were.
    """
    if wanted.poses is None:
        return None
    if wanted.is_log:
        log = LogRecording(wanted.poses, wanted.stream, None if wanted.latency_ms is None else wanted.latency_ns)
        return Opened(log, wanted.latency_ms, log.stream)
    table = read_table(wanted.poses)
    video = _video_of(wanted, table)
    if video is None:
        size, fps = _given(wanted)
        recording = TableRecording(table, Timing(fps, wanted.latency_ns), size)
    else:
        fps, size = video.own_frames_per_second, video.size if wanted.size is None else read_size(wanted.size)
        pictures = decoded_ahead(video) if wanted.pictures else ()
        recording = TableRecording(table, Timing(fps, wanted.latency_ns), size, pictures)
        if not wanted.pictures:
            video.close()
    return Opened(recording, wanted.latency_ns / 1e6, wanted.stream, fps=fps)


def open_video_recording(
    wanted: Wanted, load: Callable[[], PoseModel], crop: Crop | None, outputs: TrackOutputs, files: ExitStack
) -> Opened:
    """Open a video, whose poses a model finds as it is gone through.

    Args:
        wanted: what to rehearse on.
        load: loads the model, once the video is known to be one.
        crop: the window that follows the one animal; None: the model sees whole frames.
        outputs: the table to keep the poses in, if any.
        files: finishes it.

    Raises:
        InvalidInputError: no video is given, it is not there, or none; or the model can't follow an animal.
    """
    if wanted.video is None:
        raise InvalidInputError("there is nothing to rehearse on; give a recording with --video or --poses")
    video = open_video(wanted.video, wanted.fps)
    model = load()
    if crop is not None:
        require_croppable(model)
    keep = None
    if outputs.tables:
        keep = open_table(outputs.tables[0], model.spec, video.path)
        finish_with(files, keep)
    timing = Timing(video.own_frames_per_second, wanted.latency_ns)
    recording = VideoRecording(video, model, timing, crop, keep)
    return Opened(recording, wanted.latency_ns / 1e6, wanted.stream, model.name, tuple(model.spec.skeleton), timing.fps)


def read_size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT``.

    Raises:
        InvalidInputError: it is not of that form.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise InvalidInputError(f"{text!r} is no size of frames; give WIDTHxHEIGHT, such as 640x480")
    return int(found[1]), int(found[2])


def _video_of(wanted: Wanted, table: PoseTable) -> VideoSource | None:
    """The video that poses are of, where it is there and needed."""
    if wanted.video is not None:
        return open_video(wanted.video, wanted.fps)
    if (wanted.fps and wanted.size) or table.video is None or not _is_file(table.video):
        return None
    return open_video(table.video, wanted.fps)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have this name
        return False


def _given(wanted: Wanted) -> tuple[tuple[int, int], float]:
    missing = [
        name for name, value in (("--fps RATE", wanted.fps), ("--size WIDTHxHEIGHT", wanted.size)) if value is None
    ]
    if missing or wanted.fps is None or wanted.size is None:
        raise InvalidInputError(
            f"the poses {wanted.poses} do not say what they are of; give {' and '.join(missing)}, or the video with "
            "--video"
        )
    return read_size(wanted.size), wanted.fps
