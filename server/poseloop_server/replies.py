"""The replies of a Track call, as bytes."""

from __future__ import annotations

from poseloop.clock import clock_id, now_ns
from poseloop.types import ModelSpec
from poseloop.v1 import poseloop_pb2 as pb

from poseloop_server.frames import IncomingFrame
from poseloop_server.stream import Stream
from poseloop_server.wire import counters_to_wire, length_delimited_tag, varint

_POSE = length_delimited_tag(pb.TrackReply.POSE_FIELD_NUMBER)


def opened(
    stream: Stream, spec: ModelSpec, server_id: str, window: int, shared_memory: str, shared_memory_event: str
) -> bytes:
    """Tell the client that its stream is open."""
    message = pb.TrackReply()
    message.opened.server_id = server_id
    message.opened.session_id = stream.identity.session_id
    message.opened.clock_id = clock_id()
    message.opened.window = window
    message.opened.model_spec = spec.model_dump_json()
    message.opened.shared_memory = shared_memory
    message.opened.shared_memory_event = shared_memory_event
    return message.SerializeToString()


def ack(stream: Stream, frame: IncomingFrame) -> bytes:
    """Acknowledge a frame."""
    message = pb.TrackReply()
    message.ack.sequence = frame.sequence
    message.ack.received_ns = frame.received_ns
    counters_to_wire(stream.counters(), message.ack.counters)
    message.ack.acked_ns = now_ns()
    return message.SerializeToString()


def pose(payload: bytes) -> bytes:
    """Wrap the bytes of a `Pose`."""
    return _POSE + varint(len(payload)) + payload


def closed(stream: Stream) -> bytes:
    """Tell the client the final account."""
    message = pb.TrackReply()
    counters_to_wire(stream.counters(), message.closed.counters)
    return message.SerializeToString()
