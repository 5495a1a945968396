"""Every frame of a video with the pose that a model finds in it: what tracking and rehearsing a video share.

One thread decodes a few frames ahead while the caller's runs the model, so memory stays flat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import Crop
from poseloop.errors import InvalidInputError
from poseloop.images import to_model_color
from poseloop.sources import VideoSource
from poseloop.types import Frame

from poseloop_server.following import Following, Pixels
from poseloop_server.model import PoseModel

FRAMES_AHEAD: Final = 8


@dataclass(frozen=True, slots=True)
class VideoPose:
    """What a model found in one frame.

    Attributes:
        number: of the frame, from 0.
        frame: as it was decoded.
        image: uint8 ``(height, width, channels)``, the whole frame as the model saw it; None where it saw a crop.
        keypoints: float32 ``(instances, keypoints, 3)``, in pixels of the frame.
        lost: with a crop, the animal was not found.
        inference_ms: the time that the conversion of the colour and the model took.
    """

    number: int
    frame: Frame
    image: NDArray[np.uint8] | None
    keypoints: NDArray[np.float32]
    lost: bool
    inference_ms: float


def open_video(path: Path, fps: float | None = None) -> VideoSource:
    """Open a video to be tracked: every frame, as fast as frames are taken.

    Args:
        path: of the file.
        fps: frames a second, where the file's own rate is not to be believed.

    Raises:
        InvalidInputError: it is not there, or no video.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no video {path}")
    return VideoSource(path, fps, paced=False, loop=False)


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


def poses_of(video: VideoSource, model: PoseModel, crop: Crop | None = None) -> Iterator[VideoPose]:
    """Yield every frame of a video with its pose, then close the video.

    Args:
        video: as `open_video` returns it.
        model: as the server runs it.
        crop: the window that follows the one animal; None: the model sees whole frames.

    Raises:
        InvalidInputError: not one frame can be decoded.
        ModelFailedError: the model failed on a frame.
    """
    following = None if crop is None else Following(crop, model.spec)
    for number, frame in enumerate(decoded_ahead(video)):
        before_ns = now_ns()
        pixels = Pixels(np.asarray(frame.image), frame.format)
        image, lost = None, False
        if following is not None:
            keypoints, view = following.find(pixels, model.infer)
            lost = view.lost
        else:
            image = to_model_color(pixels.image, pixels.format, model.spec.color)
            keypoints = model.infer(image[np.newaxis])[0]
        yield VideoPose(number, frame, image, keypoints, lost, (now_ns() - before_ns) / 1e6)
