"""A video, its poses found by a model as the rehearsal goes on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from poseloop.crop import Crop
from poseloop.sources import VideoSource

from poseloop_server.loop.live import TRACK_LOST
from poseloop_server.model import PoseModel
from poseloop_server.rehearse.recording import RecordedPose, Timing
from poseloop_server.tables import TableWriter
from poseloop_server.video_poses import poses_of


class VideoRecording:
    """Every frame of a video, through a model; can be gone through once.

    Args:
        video: as `poseloop_server.video_poses.open_video` returns it.
        model: that finds the poses.
        timing: of the frames.
        crop: the window that follows the one animal; None: the model sees whole frames.
        keep: gets every pose, to write it into a file.
    """

    def __init__(
        self, video: VideoSource, model: PoseModel, timing: Timing, crop: Crop | None, keep: TableWriter | None
    ) -> None:
        self.description = f"{video.path} through {model.name}"
        self.keypoints = tuple(model.spec.keypoints)
        self.frames = video.frames
        self.has_images = crop is None
        self._decoded = 0
        self._video, self._model, self._timing, self._crop, self._keep = video, model, timing, crop, keep

    def remarks(self) -> list[str]:
        """Return that the video holds more or fewer frames than its header says."""
        if not self.frames or self._decoded == self.frames:
            return []
        name = self._video.path.name
        return [f"The header of {name} promises {self.frames} frames; {self._decoded} could be decoded."]

    def __iter__(self) -> Iterator[RecordedPose]:
        """Yield the poses as they are found.

        Raises:
            InvalidInputError: not one frame can be decoded.
            ModelFailedError: the model failed on a frame.
        """
        for found in poses_of(self._video, self._model, self._crop):
            if self._keep is not None:
                self._keep.add(found.keypoints)
            self._decoded = found.number + 1
            captured_ns, decided_ns = self._timing.of(found.number)
            height, width = np.asarray(found.frame.image).shape[:2]
            yield RecordedPose(
                found.number,
                captured_ns,
                decided_ns,
                width,
                height,
                found.keypoints,
                doubts=(TRACK_LOST,) if found.lost else (),
                image=found.image,
                picture=found.frame,
            )
