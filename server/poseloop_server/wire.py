"""Small parts of the wire format that several messages share."""

from __future__ import annotations

from poseloop.types import Counters, Percentiles
from poseloop.v1 import poseloop_pb2 as pb

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """Encode an unsigned integer as protobuf does."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def length_delimited_tag(field_number: int) -> bytes:
    """Encode the tag of a message, text or packed field; its length and content come behind it."""
    return varint(field_number << 3 | _LENGTH_DELIMITED)


def counters_to_wire(counters: Counters, into: pb.StreamCounters | None = None) -> pb.StreamCounters:
    """Write an account into a message, a new one unless given."""
    message = pb.StreamCounters() if into is None else into
    message.client.sent = counters.sent
    message.client.dropped_outbox = counters.dropped_outbox
    message.client.lost_connection = counters.lost_connection
    message.received = counters.received
    message.published = counters.published
    message.dropped_mailbox = counters.dropped_mailbox
    message.failed = counters.failed
    message.dropped_rate = counters.dropped_rate
    return message


def percentiles_to_wire(percentiles: Percentiles) -> pb.Percentiles:
    """Write percentiles in milliseconds."""
    return pb.Percentiles(
        p50_ms=percentiles.p50, p95_ms=percentiles.p95, p99_ms=percentiles.p99, max_ms=percentiles.max
    )
