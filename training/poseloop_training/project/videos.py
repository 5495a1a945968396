"""Videos of a project, opened and cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.project.config import Crop, Project, ProjectVideo, add_video
from poseloop_training.video_file import VideoFile


def open_video(path: Path) -> VideoFile:
    """Open a video whose frames are to be looked at.

    Raises:
        InvalidInputError: it is not there, or not one frame can be decoded.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no video {path}: correct the path.")
    video = VideoFile(path)
    if not video.frames:
        raise InvalidInputError(f"{path} holds no frame that can be decoded: convert it to H.264 mp4, or restore it.")
    return video


def videos_of(project: Project, videos: list[Path]) -> tuple[Project, list[ProjectVideo]]:
    """Return the project with these videos added, and them; or all of its videos if none is given.

    Raises:
        InvalidInputError: a video is missing or can't be read, or bears the name of another.
    """
    for video in videos:
        project = add_video(project, video, open_video(video).size_of(0))
    places = [video.resolve() for video in videos]
    chosen = [v for v in project.videos if not places or (v.path is not None and v.path.resolve() in places)]
    if not chosen:
        raise InvalidInputError(f"{project.config_file} lists no video: name the videos to draw frames from.")
    missing = next((video for video in chosen if video.path is None), None)
    if missing is not None:
        raise InvalidInputError(
            f"the video {missing.listed!r} of {project.config_file} is neither there nor in its videos/: put it back, "
            "correct its path, or name the videos to use."
        )
    return project, chosen


def numbers_within(project: Project, video: VideoFile) -> range:
    """Return the numbers of the frames between the project's ``start`` and ``stop``; at least one."""
    first = min(int(video.frames * project.start), video.frames - 1)
    return range(first, max(int(np.ceil(video.frames * project.stop)), first + 1))


def size_after(video: VideoFile, crop: Crop | None) -> tuple[int, int]:
    """Return width and height of the video's frames once they are cut."""
    return (crop[1] - crop[0], crop[3] - crop[2]) if crop else video.size_of(0)


def cropped(image: NDArray[np.uint8], crop: Crop | None, video: str) -> NDArray[np.uint8]:
    """Return the part of an image that is x1, x2, y1, y2.

    Raises:
        InvalidInputError: it reaches beyond the image.
    """
    if crop is None:
        return image
    x1, x2, y1, y2 = crop
    if x2 > image.shape[1] or y2 > image.shape[0]:
        raise InvalidInputError(
            f"the crop {x1}, {x2}, {y1}, {y2} of {video} reaches beyond its {image.shape[1]}x{image.shape[0]} frames: "
            "correct it in config.yaml."
        )
    return image[y1:y2, x1:x2]
