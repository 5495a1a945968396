"""Between the wire's protobuf messages and the types of this package."""

from __future__ import annotations

import numpy as np

from poseloop.crop import Crop, CropView
from poseloop.types import (
    Counters,
    ModelInfo,
    ModelSpec,
    Percentiles,
    PixelFormat,
    Policy,
    Pose,
    SessionCounters,
    Stamps,
    StreamInfo,
)
from poseloop.v1 import poseloop_pb2 as pb

FORMAT_TO_WIRE = {
    PixelFormat.GRAY8: pb.PIXEL_FORMAT_GRAY8,
    PixelFormat.RGB8: pb.PIXEL_FORMAT_RGB8,
    PixelFormat.BGR8: pb.PIXEL_FORMAT_BGR8,
    PixelFormat.JPEG: pb.PIXEL_FORMAT_JPEG,
}
FORMAT_FROM_WIRE = {wire: value for value, wire in FORMAT_TO_WIRE.items()}
POLICY_TO_WIRE = {Policy.LIVE: pb.DELIVERY_POLICY_LIVE, Policy.LOSSLESS: pb.DELIVERY_POLICY_LOSSLESS}
POLICY_FROM_WIRE = {wire: value for value, wire in POLICY_TO_WIRE.items()}


def counters_from_wire(message: pb.StreamCounters) -> Counters:
    """Read one stream's account."""
    return SessionCounters(
        sent=message.client.sent,
        published=message.published,
        dropped_outbox=message.client.dropped_outbox,
        lost_connection=message.client.lost_connection,
        dropped_mailbox=message.dropped_mailbox,
        failed=message.failed,
        received=message.received,
        dropped_rate=message.dropped_rate,
    )


def pose_from_wire(message: pb.Pose) -> Pose:
    """Read one pose; ``keypoints`` becomes float32 ``(instances, keypoints, 3)``."""
    stamps = message.stamps
    names = tuple(message.keypoint_names)
    keypoints = np.array(message.keypoints, dtype=np.float32).reshape(message.instances, len(names), 3)
    return Pose(
        stream=message.stream,
        sequence=message.sequence,
        keypoint_names=names,
        keypoints=keypoints,
        stamps=Stamps(
            captured_ns=stamps.captured_ns,
            received_ns=stamps.received_ns,
            inference_started_ns=stamps.inference_started_ns,
            inference_ended_ns=stamps.inference_ended_ns,
            published_ns=stamps.published_ns,
            captured_client_ns=stamps.captured_client_ns,
            clock_uncertainty_ns=stamps.clock_uncertainty_ns,
            keypoints_ns=stamps.keypoints_ns or stamps.captured_ns,
        ),
        counters=counters_from_wire(message.counters),
        width=message.width,
        height=message.height,
        model=message.model,
        server_id=message.server_id,
        session_id=message.session_id,
        model_sha256=message.model_sha256,
        crop=crop_view_from_wire(message.crop) if message.HasField("crop") else None,
    )


def crop_view_from_wire(message: pb.CropView) -> CropView:
    """Read where a pose was seen."""
    return CropView(message.x, message.y, message.width, message.height, message.searched, message.lost)


def crop_to_wire(crop: Crop | None) -> pb.Crop:
    """Write a crop; None is the one without a window, which says that there is to be none."""
    return pb.Crop() if crop is None else pb.Crop(width=crop.width, height=crop.height, confidence=crop.confidence or 0)


def crop_from_wire(message: pb.Crop) -> Crop | None:
    """Read a crop, or None from one without a window.

    Raises:
        InvalidInputError: a value is out of its range.
    """
    if message.width == message.height == 0:
        return None
    # The wire's floats are short: 0.3 comes as 0.30000001.
    return Crop(message.width, message.height, round(message.confidence, 6) or None)


def percentiles_from_wire(message: pb.Percentiles) -> Percentiles:
    """Read percentiles in milliseconds."""
    return Percentiles(message.p50_ms, message.p95_ms, message.p99_ms, message.max_ms)


def stream_info_from_wire(message: pb.StreamInfo) -> StreamInfo:
    """Read one stream's state."""
    return StreamInfo(
        name=message.name,
        model=message.model,
        policy=POLICY_FROM_WIRE.get(message.policy, Policy.LIVE),
        format=FORMAT_FROM_WIRE.get(message.format),
        width=message.width,
        height=message.height,
        counters=counters_from_wire(message.counters),
        frames_per_second=message.frames_per_second,
        age=percentiles_from_wire(message.age),
        wait=percentiles_from_wire(message.wait),
        inference=percentiles_from_wire(message.inference),
        peer=message.peer,
        session_id=message.session_id,
        priority=message.priority,
        max_fps=message.max_frames_per_second or None,
        crop=crop_from_wire(message.crop),
    )


def model_info_from_wire(message: pb.ModelInfo) -> ModelInfo:
    """Read one model's state."""
    return ModelInfo(
        name=message.name,
        spec=ModelSpec.model_validate_json(message.spec),
        sha256=message.sha256,
        provider=message.provider,
        device=message.device,
        precision=message.precision,
        warm_up_ms=message.warm_up_ms,
        inference_ms=message.inference_ms,
        threads=message.threads,
        streams=tuple(message.streams),
        cores=tuple(message.cores),
        batch_times_ms={one.frames: one.inference_ms for one in message.batch_times},
        batches=tuple(message.batches),
    )
