"""A stream as its model's thread sees it: what the model is shown of a frame, and what becomes of its pose."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import CropView
from poseloop.images import Color
from poseloop.types import Policy

from poseloop_server import replies
from poseloop_server.events import Events
from poseloop_server.following import Following
from poseloop_server.frames import IncomingFrame, to_image, to_pixels
from poseloop_server.mailbox import LiveMailbox
from poseloop_server.model import PoseModel
from poseloop_server.pose_writer import PoseWriter
from poseloop_server.sinks.base import Sink, pose_topic
from poseloop_server.stream import Stream

Size = tuple[int, int]  # width, height


class Loop(Protocol):
    """What acts on the poses of a stream; all of it is called on its model's thread."""

    needs_image: bool
    """Whether it looks at the pixels of the frame."""

    def step(
        self,
        frame: IncomingFrame,
        keypoints: NDArray[np.float32],
        inference_ns: tuple[int, int],
        view: CropView | None,
        image: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.float32], int]:
        """Decide and act, and return the keypoints to publish and the time that they are of."""

    def published(self, published_ns: int) -> None:
        """Do what can wait until the pose is on its way to the subscribers."""

    def swapped(self, model: PoseModel) -> None:
        """Another version of the model makes the poses from here on."""


class Member:
    """A stream of a model.

    Args:
        stream: the stream.
        model: the version that makes its poses.
        sink: where they go.
        events: told of frames that fail.
        server_id: stands in each pose.
        loop: acts on its poses, if anything does.
    """

    def __init__(
        self, stream: Stream, model: PoseModel, sink: Sink, events: Events, server_id: str, loop: Loop | None = None
    ) -> None:
        self.stream = stream
        self.priority = stream.identity.priority
        # Only live frames are batched: a lossless stream is in no hurry.
        self.live = stream.mailbox if isinstance(stream.mailbox, LiveMailbox) else None
        crop = stream.identity.crop
        self.following = None if crop is None else Following(crop, model.spec)
        self._topic = pose_topic(stream.identity.name).encode()
        self._sink = sink
        self._events = events
        self._server_id = server_id
        self._loop = loop
        self._use(model)

    def frames_for(self, size: Size) -> Size | None:
        """Return how large the frames are of which the model gets an image of this size; None: it gets none next."""
        return size if self.following is None else self.following.follows_in(*size)

    def image_of(self, frame: IncomingFrame, color: Color) -> NDArray[np.uint8]:
        """Return what the model sees first of a frame; raises as `to_image`."""
        if self.following is None:
            return to_image(frame, color)
        return self.following.begin(to_pixels(frame, color))

    def publish(
        self,
        frame: IncomingFrame,
        keypoints: NDArray[np.float32],
        started_ns: int,
        ended_ns: int,
        image: NDArray[np.uint8],
        view: CropView | None = None,
    ) -> None:
        """Let the loop act on what the model saw, and publish it.

        Args:
            frame: that it was seen in.
            keypoints: float32 ``(instances, keypoints, 3)``.
            started_ns: when inference started.
            ended_ns: when it ended.
            image: what the model saw, as `image_of` returned it.
            view: where in the frame that was, in a stream with a crop.
        """
        stream, loop = self.stream, self._loop
        stream.published += 1
        stream.failing = False
        time_ns = 0
        if loop is not None:
            whole = self._whole(frame, image) if loop.needs_image else None
            keypoints, time_ns = loop.step(frame, keypoints, (started_ns, ended_ns), view, whole)
        pose, published_ns = self._writer.write(stream, frame, keypoints, started_ns, ended_ns, view, time_ns)
        self._sink.publish(self._topic, pose)
        handed_over_ns = now_ns()
        if loop is not None:
            loop.published(published_ns)
        # Before the answer: once every frame is answered the stream may close, and its sums are taken.
        stream.latencies.add(
            published_ns,
            age_ms=(published_ns - frame.captured_ns) / 1e6,
            wait_ms=(started_ns - frame.received_ns) / 1e6,
            inference_ms=(ended_ns - started_ns) / 1e6,
            stages_ms=(published_ns - ended_ns) / 1e6,
            publish_ms=(handed_over_ns - published_ns) / 1e6,
        )
        stream.answer(self._reply(frame, pose))

    def fail(self, frame: IncomingFrame, error: Exception) -> None:
        """Count a frame as failed; of several in a row the first is reported."""
        stream = self.stream
        stream.failed += 1
        if not stream.failing:
            stream.failing = True
            self._events.failed(stream, f"frame {frame.sequence}: {error}")
        stream.answer(self._reply(frame, None))

    def take_over(self, before: PoseModel, after: PoseModel) -> None:
        """Let another version of the model make the poses from here on, and say so."""
        self._use(after)
        self.stream.failing = False
        if self.following is not None:
            self.following.use(after.spec)
        if self._loop is not None:
            self._loop.swapped(after)
        self._events.swapped(
            self.stream, f"model {after.name}: {after.sha256[:12]} has taken over from {before.sha256[:12]}"
        )

    def _use(self, model: PoseModel) -> None:
        self._color: Color = model.spec.color
        self._writer = PoseWriter(self.stream.identity, model.spec, self._server_id, model.sha256)

    def _whole(self, frame: IncomingFrame, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image if self.following is None else to_image(frame, self._color)

    def _reply(self, frame: IncomingFrame, pose: bytes | None) -> bytes | None:
        """Return what the client gets once its frame is dealt with; in live mode it has its acknowledgement already."""
        if pose is not None and self.stream.identity.return_poses:
            return replies.pose(pose)
        if self.stream.identity.policy is Policy.LOSSLESS:
            return replies.ack(self.stream, frame)
        return None
