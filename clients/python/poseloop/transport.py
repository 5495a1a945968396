"""gRPC as the sender sees it: one connection that takes messages and gives replies, and errors in one sentence."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Final, Literal

import grpc

from poseloop.clock import OffsetEstimator, now_ns
from poseloop.errors import PoseloopError, RequestRefusedError, ServerUnavailableError
from poseloop.local import LocalTransportError
from poseloop.local_frames import FramePort
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.v1 import poseloop_pb2_grpc as rpc
from poseloop.wire import Leaving, frame_message

log = logging.getLogger(__name__)

Transport = Literal["auto", "grpc", "local"]
"""How frames travel; auto: through shared memory where server and client share a host, else over gRPC."""

FIELD_METADATA_KEY = "poseloop-field"
"""Trailing metadata in which a server names the field of a request that it refuses."""

# A connection that breaks shows as one of these; every other status is the server's answer to what was asked.
_BROKEN = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL}
)
_CLOCK_QUESTIONS = 5
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Each sender has a connection of its own, so that one stream's frames never wait behind another's.
    ("grpc.use_local_subchannel_pool", 1),
    # An HTTP proxy between a rig and its server is never meant.
    ("grpc.enable_http_proxy", 0),
)


class ConnectionBrokenError(Exception):
    """The connection ended without the server having said why."""


def open_channel(address: str) -> grpc.Channel:
    """Return a channel of its own to a server; nothing is connected yet."""
    return grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)


def wait_until_ready(channel: grpc.Channel, address: str, timeout_s: float) -> None:
    """Wait until a server answers.

    Raises:
        ServerUnavailableError: none did within ``timeout_s`` seconds.
    """
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout_s)
    except grpc.FutureTimeoutError:
        raise unavailable(address, timeout_s) from None


def unavailable(address: str, timeout_s: float) -> ServerUnavailableError:
    """Return the error for a server that does not answer."""
    return ServerUnavailableError(
        f"No server answers at {address} within {timeout_s:g} s; start one with `poseloop serve` or check the address."
    )


def error_of(error: grpc.RpcError, address: str) -> PoseloopError | ConnectionBrokenError:
    """Return what a failed call means."""
    # What grpc raises is a Call too, which its type does not say.
    call: Any = error
    code: grpc.StatusCode = call.code()
    details: str = call.details() or code.name
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnavailableError(f"The server at {address} did not answer in time; see its log.")
    if code in _BROKEN:
        return ConnectionBrokenError(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        details = f"What answers at {address} is not a poseloop server, or one of another version: {details}"
    metadata = dict(call.trailing_metadata() or ())
    return RequestRefusedError(details, code.name, str(metadata.get(FIELD_METADATA_KEY, "")))


def measure_clock(channel: grpc.Channel, clock: OffsetEstimator) -> None:
    """Ask the server for its time a few times, so that the first frames already carry an estimate of its clock."""
    streams = rpc.StreamServiceStub(channel)  # type: ignore[no-untyped-call]
    for _ in range(_CLOCK_QUESTIONS):
        sent_ns = now_ns()
        try:
            server_ns = streams.ListStreams(pb.ListStreamsRequest(), timeout=1.0).time_ns
        except grpc.RpcError as error:
            log.info("the server's clock could not be asked for: %s", error_of(error, "the server"))
            return
        clock.add(sent_ns, server_ns, server_ns, now_ns())


def session_of(channel: grpc.Channel, stream: str) -> tuple[str, int] | None:
    """Return the server's id and that of the session which has this stream's name; None where that can't be told."""
    streams = rpc.StreamServiceStub(channel)  # type: ignore[no-untyped-call]
    try:
        listed = streams.ListStreams(pb.ListStreamsRequest(), timeout=1.0)
    except (grpc.RpcError, ValueError):  # gRPC's own for a channel that was closed meanwhile
        return None
    return next(
        ((listed.server_id, open_one.session_id) for open_one in listed.streams if open_one.name == stream), None
    )


class GrpcConnection:
    """One `Track` call: messages go in at any time, replies come out until it ends.

    Attributes:
        newest_wins: where a frame that was not taken yet gives way to a newer one, so that none has to be held back.
    """

    newest_wins: Final = False

    def __init__(self, address: str, opening: pb.OpenStream) -> None:
        self._address = address
        self._dropped_for = ""
        self.channel = open_channel(address)
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._outgoing.put(pb.FrameMessage(open=opening).SerializeToString())
        # Messages are serialised by `wire`, so that a frame's bytes are copied once.
        track = self.channel.stream_stream(
            "/poseloop.v1.PoseService/Track", request_serializer=None, response_deserializer=pb.TrackReply.FromString
        )
        self._call = track(iter(self._outgoing.get, None))

    def send(self, header: pb.Frame, frame: Leaving) -> None:
        """Hand over a frame, whose ``header`` has no data; copies the data and never blocks."""
        self._outgoing.put(frame_message(header, frame.data))

    def rehearse(self, header: pb.Frame, frame: Leaving) -> None:
        """Make the message that `send` would hand over."""
        frame_message(header, frame.data)

    def finish(self) -> None:
        """Say that no more frames will come; the server answers what is in flight, then ends the replies."""
        self._outgoing.put(None)

    def replies(self) -> Iterator[pb.TrackReply]:
        """Yield the server's replies until the call ends.

        Raises:
            RequestRefusedError: the server refused the stream or a frame.
            ConnectionBrokenError: the connection ended otherwise than by the server's will.
        """
        try:
            yield from self._call
        except grpc.RpcError as error:
            if self._dropped_for:
                raise ConnectionBrokenError(self._dropped_for) from None
            raise error_of(error, self._address) from None

    def drop(self, reason: str) -> None:
        """Drop the connection as one that is broken, for that reason."""
        self._dropped_for = reason
        self.close()

    def close(self) -> None:
        """Drop the connection, whatever is in flight."""
        self._outgoing.put(None)  # ends gRPC's thread that waits for the next message
        self._call.cancel()  # type: ignore[no-untyped-call]
        self.channel.close()


class LocalConnection:
    """A `Track` call whose frames go through shared memory; everything else stays with the call.

    Attributes:
        newest_wins: as of `GrpcConnection`; so in a live stream.
        failure: why a frame could not be left there, and the call was ended.

    Raises:
        LocalTransportError: this process can't attach to the memory that the server offers.
    """

    def __init__(self, call: GrpcConnection, service: str, event: str, *, newest_wins: bool) -> None:
        self._call = call
        self._port = FramePort(service, event)
        self.newest_wins = newest_wins
        self.failure: LocalTransportError | None = None
        self._closed = False

    def send(self, header: pb.Frame, frame: Leaving) -> None:
        """Leave a frame, whose ``header`` has no data, in the shared memory; copies the data and never blocks.

        Where that fails the call is ended, and why is heard from its replies: the server may have refused a frame.
        """
        try:
            self._port.send(header, frame)
        except LocalTransportError as error:
            if not self._closed:
                self.failure = error
            log.info("%s", error)
            self._call.finish()

    def rehearse(self, header: pb.Frame, frame: Leaving) -> None:
        """Write the message that `send` would leave."""
        self._port.rehearse(header, frame)

    def finish(self) -> None:
        """Say that no more frames will come."""
        self._call.finish()

    def close(self) -> None:
        """Drop the connection, whatever is in flight."""
        self._closed = True
        self._call.close()
        self._port.close()


Connection = GrpcConnection | LocalConnection


class Backoff:
    """How long to wait before each try to connect: not at all, then 20 ms, doubling to at most a second."""

    def __init__(self) -> None:
        self._tries = 0

    def reset(self) -> None:
        """Begin anew: the last try succeeded."""
        self._tries = 0

    def next_s(self) -> float:
        """Return the seconds to wait before the next try."""
        self._tries += 1
        return 0.0 if self._tries == 1 else min(1.0, 0.02 * math.exp2(min(self._tries - 2, 10)))
