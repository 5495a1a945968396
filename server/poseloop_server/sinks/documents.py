"""Poses, events and the status as JSON documents, for subscribers that parse text (docs/pose.schema.json).

JSON has no NaN: an absent coordinate is null.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any, Literal

from poseloop.messages import counters_from_wire, pose_from_wire
from poseloop.types import Pose
from poseloop.v1 import poseloop_pb2 as pb
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from poseloop_server.sinks.base import STATUS_TOPIC

Nanoseconds = Annotated[int, Field(description="nanoseconds of the server's monotonic clock")]
Count = Annotated[int, Field(ge=0)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeypointDocument(_Document):
    """One body part of one animal."""

    x: float | None = Field(description="pixels, origin at the centre of the top-left pixel; null where absent")
    y: float | None = Field(description="pixels, origin at the centre of the top-left pixel; null where absent")
    confidence: float = Field(description="0 to 1")


class StampsDocument(_Document):
    """When what happened to the frame."""

    captured_ns: Nanoseconds = Field(description="converted from the client's clock to the server's")
    received_ns: Nanoseconds
    inference_started_ns: Nanoseconds
    inference_ended_ns: Nanoseconds
    published_ns: Nanoseconds
    captured_client_ns: int = Field(description="nanoseconds of the client's monotonic clock")
    clock_uncertainty_ns: Count = Field(description="captured_ns is off by no more; 0 on a shared clock")
    keypoints_ns: Nanoseconds = Field(
        description="the time that the keypoints are of; later than captured_ns if predicted"
    )


class CountersDocument(_Document):
    """The stream's account: sent = published + every drop + in flight, until its client connects again.

    What the client counts is over all its sessions, what the server counts since it opened the stream.
    """

    sent: Count = Field(description="by the client, over all its sessions")
    published: Count = Field(description="since the stream was opened")
    dropped_outbox: Count = Field(
        description="replaced by a newer frame before they left the client, over all its sessions"
    )
    lost_connection: Count = Field(description="in flight when a connection of the client broke, over all its sessions")
    dropped_mailbox: Count = Field(description="replaced by a newer frame before inference, since it was opened")
    failed: Count = Field(description="inference failed on them, since it was opened")
    received: Count = Field(description="arrived at the server, since it was opened")
    dropped_rate: Count = Field(description="over the stream's rate limit, since it was opened")


class CropDocument(_Document):
    """The part of the frame that a pose was seen in, in pixels of the frame."""

    x: Count = Field(description="column of its top-left pixel")
    y: Count = Field(description="row of its top-left pixel")
    width: Count
    height: Count
    searched: bool = Field(description="the animal was not in the window, or there was none: the frame was searched")
    lost: bool = Field(description="too few keypoints are seen: the next frame is searched")


class PoseDocument(_Document):
    """What a model saw in one frame; topic pose/<stream>."""

    kind: Literal["pose"] = "pose"
    stream: str
    sequence: Count
    model: str
    server_id: str
    session_id: Count
    model_sha256: str = Field(description="of the file that made it; changes when the model is swapped")
    width: Count = Field(description="of the frame, in pixels")
    height: Count = Field(description="of the frame, in pixels")
    stamps: StampsDocument
    counters: CountersDocument
    instances: list[dict[str, KeypointDocument]] = Field(description="one entry an animal: keypoints by name")
    crop: CropDocument | None = Field(description="where it was seen, in a stream with a crop; otherwise null")


class EventDocument(_Document):
    """Something that happened to a stream; topic event/<stream>."""

    kind: Literal["opened", "closed", "failed", "swapped"]
    stream: str
    time_ns: Nanoseconds
    message: str
    server_id: str
    session_id: Count
    counters: CountersDocument


class TriggerDocument(_Document):
    """A trigger gave a command; topic event/<stream>."""

    kind: Literal["triggered"] = "triggered"
    stream: str
    time_ns: Nanoseconds = Field(description="when it was published")
    message: str
    server_id: str
    trigger: str = Field(description="its name")
    edge: str = Field(description="rise, while or fall")
    output: str = Field(description="that the command was for")
    number: Count = Field(description="of the command, counted by stream from 1")
    sequence: Count = Field(description="of the frame whose pose caused it")
    captured_ns: Nanoseconds
    decided_ns: Nanoseconds
    values: dict[str, float | None] = Field(description="what the condition was made of; null where not a number")


class StatusDocument(_Document):
    """The state of the server, once a second; topic status."""

    kind: Literal["status"] = "status"
    server_id: str
    time_ns: Nanoseconds
    started_ns: Nanoseconds
    models: list[str]
    streams: list[str]
    version: str


Document = Annotated[PoseDocument | EventDocument | TriggerDocument | StatusDocument, Field(discriminator="kind")]
_EVENT_KINDS: dict[int, Literal["opened", "closed", "failed", "swapped"]] = {
    pb.StreamEvent.KIND_OPENED: "opened",
    pb.StreamEvent.KIND_CLOSED: "closed",
    pb.StreamEvent.KIND_FAILED: "failed",
    pb.StreamEvent.KIND_SWAPPED: "swapped",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of every published document."""
    found: dict[str, Any] = TypeAdapter(Document).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "poseloop over ZeroMQ", **found}


def to_json(topic: bytes, payload: bytes) -> bytes:
    """Return the JSON document of a published protobuf message.

    Raises:
        google.protobuf.message.DecodeError: the payload is not what the topic promises.
    """
    return _to_document(topic, payload).model_dump_json().encode()


def _to_document(topic: bytes, payload: bytes) -> Document:
    if topic == STATUS_TOPIC.encode():
        status = pb.ServerStatus.FromString(payload)
        return StatusDocument(
            server_id=status.server_id,
            time_ns=status.time_ns,
            started_ns=status.started_ns,
            models=list(status.models),
            streams=list(status.streams),
            version=status.version,
        )
    if topic.startswith(b"event/"):
        event = pb.StreamEvent.FromString(payload)
        if event.kind == pb.StreamEvent.KIND_TRIGGERED:
            return _trigger(event)
        return EventDocument(
            kind=_EVENT_KINDS[event.kind],
            stream=event.stream,
            time_ns=event.time_ns,
            message=event.message,
            server_id=event.server_id,
            session_id=event.session_id,
            counters=CountersDocument(**asdict(counters_from_wire(event.counters))),
        )
    return _pose(pose_from_wire(pb.Pose.FromString(payload)))


def _trigger(event: pb.StreamEvent) -> TriggerDocument:
    trigger = event.trigger
    return TriggerDocument(
        stream=event.stream,
        time_ns=event.time_ns,
        message=event.message,
        server_id=event.server_id,
        trigger=trigger.name,
        edge=trigger.edge,
        output=trigger.output,
        number=trigger.number,
        sequence=trigger.sequence,
        captured_ns=trigger.captured_ns,
        decided_ns=trigger.decided_ns,
        values={name: _finite(value) for name, value in trigger.values.items()},
    )


def _pose(pose: Pose) -> PoseDocument:
    return PoseDocument(
        stream=pose.stream,
        sequence=pose.sequence,
        model=pose.model,
        server_id=pose.server_id,
        session_id=pose.session_id,
        model_sha256=pose.model_sha256,
        width=pose.width,
        height=pose.height,
        stamps=StampsDocument(**asdict(pose.stamps)),
        counters=CountersDocument(**asdict(pose.counters)),
        instances=[
            {
                name: KeypointDocument(x=_finite(x), y=_finite(y), confidence=confidence)
                for name, (x, y, confidence) in zip(pose.keypoint_names, instance.tolist(), strict=True)
            }
            for instance in pose.keypoints
        ],
        crop=None if pose.crop is None else CropDocument(**asdict(pose.crop)),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
