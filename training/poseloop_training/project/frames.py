"""`poseloop project frames`: frames of the videos as PNGs in ``labeled-data/<video>``, to be labelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from poseloop.errors import InvalidInputError

from poseloop_training.image_source import ImageFile, read_size
from poseloop_training.project.choice import MOST_COMPARED, Method, choose_kmeans, choose_uniform, thumbnail
from poseloop_training.project.config import Crop, Project, ProjectVideo
from poseloop_training.project.files import write_png
from poseloop_training.project.videos import cropped, numbers_within, open_video, size_after, videos_of
from poseloop_training.video_file import VideoFile

# What DeepLabCut adds to a folder's name for its drawings of labels.
DRAWN: Final = "_labeled"
# DeepLabCut's names of frames; other images in the folder are left alone.
FRAME_NAME: Final = re.compile(r"img(\d+)\.png", re.IGNORECASE)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """What was drawn from one video.

    Attributes:
        video: name of its folder in ``labeled-data``.
        frames: in the whole video.
        written: the new files.
        there_before: frames that the folder held already.
    """

    video: str
    frames: int
    written: tuple[Path, ...]
    there_before: int


@dataclass(frozen=True, slots=True)
class FramesReport:
    """What was drawn, video by video; ``skipped`` have frames already and were asked for nothing more."""

    videos: tuple[VideoFrames, ...]
    skipped: tuple[str, ...]


def extract_frames(
    project: Project,
    videos: Sequence[Path] = (),
    *,
    method: Method = "kmeans",
    count: int | None = None,
    more: bool = False,
    crop: bool = False,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> FramesReport:
    """Draw frames to label from videos and write those that are not there yet; a frame that is there stays as it is.

    Args:
        project: where to.
        videos: those to draw from, added to the project if they are new; all of the project if none is given.
        method: ``"kmeans"`` takes one of each kind of frame, ``"uniform"`` draws at random over the video's length.
        count: frames a video; the project's ``numframes2pick`` if None.
        more: draw also from videos that have frames, new ones beside them.
        crop: cut frames to the video's ``crop`` of ``config.yaml``.
        seed: decides what is drawn.
        on_progress: called with a video's name, frames done and frames to do.

    Raises:
        InvalidInputError: a video is missing or can't be read, or its folder holds frames of another size.
    """
    wanted = project.frames_to_pick if count is None else count
    if wanted < 1:
        raise InvalidInputError(f"{wanted} frames can't be drawn: give --count a number from 1 on.")
    project, chosen = videos_of(project, list(videos))
    skipped = [video.stem for video in chosen if not more and frames_there(project.labeled_data / video.stem)]
    done = []
    for video in chosen:
        if video.stem not in skipped:
            draw = _Draw(method, wanted, seed, on_progress)
            done.append(_extract(project, video, video.crop if crop else None, draw))
    return FramesReport(tuple(done), tuple(skipped))


def frame_folders(project: Project) -> list[Path]:
    """Return the folders of ``labeled-data`` in the order of their names, without those of drawings."""
    folders = sorted(path for path in project.labeled_data.glob("*") if path.is_dir())
    return [folder for folder in folders if not _is_drawn(folder)]


def _is_drawn(folder: Path) -> bool:
    of = folder.with_name(folder.name.removesuffix(DRAWN))
    return folder != of and of.is_dir() and not list(folder.glob("CollectedData_*"))


def frames_there(folder: Path) -> dict[int, Path]:
    """Return the frames that a folder holds, by their number in the video."""
    found = ((FRAME_NAME.fullmatch(file.name), file) for file in sorted(folder.glob("*")))
    return {int(match[1]): file for match, file in found if match}


def frame_names(folder: Path, frames: int) -> Callable[[int], Path]:
    """Return the function that names a frame's file, with as many digits as the video's frames or files there need."""
    digits = max([len(str(max(frames - 1, 0))), *(len(file.stem) - 3 for file in frames_there(folder).values())])
    return lambda index: folder / f"img{index:0{digits}d}.png"


def refuse_other_size(folder: Path, size: tuple[int, int]) -> None:
    """Raise InvalidInputError if a folder holds frames of another size than those that shall come beside them."""
    for file in frames_there(folder).values():
        there = read_size(ImageFile(file))
        if there != size:
            raise InvalidInputError(
                f"{folder} holds frames of {there.width}x{there.height}, and these would be {size[0]}x{size[1]}: draw "
                "them as before, with or without --crop."
            )
        return


@dataclass(frozen=True, slots=True)
class _Draw:
    method: Method
    count: int
    seed: int
    on_progress: Progress | None

    def candidates(self, numbers: range, taken: dict[int, Path]) -> list[int]:
        step = 1 if self.method == "uniform" else max(1, -(-len(numbers) // MOST_COMPARED))
        return [index for index in numbers[::step] if index not in taken]

    def choose(self, reader: VideoFile, name: str, candidates: list[int], crop: Crop | None) -> list[int]:
        if self.method == "uniform" or len(candidates) <= self.count:
            return choose_uniform(candidates, self.count, self.seed)
        thumbnails = []
        for done, index in enumerate(candidates, 1):
            thumbnails.append(thumbnail(cropped(reader.read(index), crop, name)))
            if self.on_progress is not None:
                self.on_progress(name, done, len(candidates))
        return choose_kmeans(candidates, np.stack(thumbnails), self.count, self.seed)


def _extract(project: Project, video: ProjectVideo, crop: Crop | None, draw: _Draw) -> VideoFrames:
    assert video.path is not None
    reader = open_video(video.path)
    folder = project.labeled_data / video.stem
    taken = frames_there(folder)
    refuse_other_size(folder, size_after(reader, crop))
    name = frame_names(folder, reader.frames)
    chosen = draw.choose(reader, video.stem, draw.candidates(numbers_within(project, reader), taken), crop)
    written = []
    for index in chosen:
        file = name(index)
        write_png(file, cropped(reader.read(index), crop, video.stem))
        written.append(file)
    return VideoFrames(video.stem, reader.frames, tuple(written), len(taken))
