"""Writes the wire's `Pose`: what seldom changes is serialised once, the rest is appended.

Protobuf messages may be concatenated: parsing the parts one after another merges them
(https://protobuf.dev/programming-guides/encoding, "Last One Wins"). Keypoints are a packed field of little-endian
floats, so an array's bytes are its content as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import CropView
from poseloop.types import ModelSpec
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.frames import IncomingFrame
from poseloop_server.stream import Stream, StreamIdentity
from poseloop_server.wire import counters_to_wire, length_delimited_tag, varint

_KEYPOINTS = length_delimited_tag(pb.Pose.KEYPOINTS_FIELD_NUMBER)


class PoseWriter:
    """Serialises the poses of one stream, made by one version of its model; used by one thread."""

    def __init__(self, identity: StreamIdentity, spec: ModelSpec, server_id: str, model_sha256: str) -> None:
        self._identity = identity
        self._names = list(spec.keypoints)
        self._server_id = server_id
        self._model_sha256 = model_sha256
        self._static_for = (0, 0, 0)  # width, height, instances: a stage may change how many animals there are
        self._static = b""
        self._message = pb.Pose()

    def write(
        self,
        stream: Stream,
        frame: IncomingFrame,
        keypoints: NDArray[np.float32],
        started_ns: int,
        ended_ns: int,
        view: CropView | None = None,
        time_ns: int = 0,
    ) -> tuple[bytes, int]:
        """Return the bytes of the pose and the time that stands in it as its publication.

        Args:
            stream: whose account goes with the pose.
            frame: that the pose was seen in.
            keypoints: float32 ``(instances, keypoints, 3)``.
            started_ns: when inference started.
            ended_ns: when it ended.
            view: where in the frame it was seen, in a stream with a crop.
            time_ns: that the keypoints are of, where a stage predicted them; 0: when the frame was captured.
        """
        sizes = (frame.width, frame.height, keypoints.shape[0])
        if sizes != self._static_for:
            self._static_for = sizes
            self._static = self._static_part(*sizes)
        values = keypoints.astype("<f4", copy=False).tobytes()
        message = self._message
        message.sequence = frame.sequence
        counters_to_wire(stream.counters(), message.counters)
        if view is not None:
            crop = message.crop
            crop.x, crop.y, crop.width, crop.height = view.x, view.y, view.width, view.height
            crop.searched, crop.lost = view.searched, view.lost
        stamps = message.stamps
        stamps.captured_ns = frame.captured_ns
        stamps.received_ns = frame.received_ns
        stamps.captured_client_ns = frame.captured_client_ns
        stamps.clock_uncertainty_ns = frame.clock_uncertainty_ns
        stamps.keypoints_ns = time_ns
        stamps.inference_started_ns = started_ns
        stamps.inference_ended_ns = ended_ns
        published_ns = now_ns()
        stamps.published_ns = published_ns
        return b"".join((self._static, varint(len(values)), values, message.SerializeToString())), published_ns

    def _static_part(self, width: int, height: int, instances: int) -> bytes:
        identity = self._identity
        message = pb.Pose(
            stream=identity.name,
            keypoint_names=self._names,
            model=identity.model,
            server_id=self._server_id,
            session_id=identity.session_id,
            width=width,
            height=height,
            instances=instances,
            model_sha256=self._model_sha256,
        )
        return message.SerializeToString() + _KEYPOINTS
