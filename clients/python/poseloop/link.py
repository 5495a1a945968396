"""Keeps a sender connected: opens the stream, reads the answers, and opens it again when the connection breaks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from poseloop.clock import OffsetEstimator, clock_id, now_ns
from poseloop.errors import PoseloopError, RequestRefusedError, ServerUnavailableError
from poseloop.flow import Flow
from poseloop.images import can_convert
from poseloop.local import LetGoError, LocalTransportError
from poseloop.messages import pose_from_wire
from poseloop.outbox import Break
from poseloop.transport import (
    Backoff,
    Connection,
    ConnectionBrokenError,
    GrpcConnection,
    LocalConnection,
    Transport,
    measure_clock,
    session_of,
)
from poseloop.types import Counters, ModelSpec, Pose
from poseloop.v1 import poseloop_pb2 as pb

log = logging.getLogger(__name__)

Wire = TypeVar("Wire")
Read = TypeVar("Read")

# The server may take a session that broke, or whose program was just ended, for alive a little longer, and refuse a
# second one of its name: for half a minute where its network died without a word (the server's keep-alive). A session
# that is known to be ours may take longer.
_LINGER_AFTER_BREAK_S = 45.0
_LINGER_AT_FIRST_S = 1.0
# A server that is there opens a stream within this.
_SHORTEST_TRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Reconnection:
    """A connection that broke and came back, and what that cost.

    Attributes:
        stream: the stream's name.
        server_restarted: whether the server is a new one; otherwise only the connection was lost.
        away_s: seconds without a connection.
        lost: frames in flight at the break, of unknown fate; always 0 in lossless mode.
        dropped_outbox: frames replaced by newer ones while there was no connection; always 0 in lossless mode.
        resent: frames in flight at the break that are sent again; always 0 in live mode.
    """

    stream: str
    server_restarted: bool
    away_s: float
    lost: int
    dropped_outbox: int
    resent: int

    def __str__(self) -> str:
        what = "to a new server" if self.server_restarted else "to the same server"
        return (
            f"stream {self.stream}: connected again {what} after {self.away_s:.2f} s; {self.lost} frames lost in "
            f"flight, {self.dropped_outbox} replaced meanwhile, {self.resent} sent again"
        )


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom the link tells what; all of them are called on its thread."""

    pose: Callable[[Pose], None] | None = None
    reconnection: Callable[[Reconnection], None] | None = None
    end: Callable[[Exception | None], None] | None = None


@dataclass(frozen=True, slots=True)
class _Broken:
    """A break that is not mended yet."""

    at_ns: int
    cost: Break
    counters: Counters


class Link:
    """The thread behind one `FrameSender`."""

    def __init__(
        self,
        address: str,
        opening: pb.OpenStream,
        flow: Flow,
        reconnect_s: float,
        listeners: Listeners,
        transport: Transport = "auto",
    ) -> None:
        self._address = address
        self._opening = opening
        self._asked = transport
        self._flow = flow
        self._reconnect_s = reconnect_s
        self._listeners = listeners
        self._started_ns = now_ns()
        self._broken: _Broken | None = None
        self._server_id = ""
        self._session = ("", 0)  # ids of the server and of the last session there
        self._taken_since_ns: int | None = None  # since when a session has the stream's name that is not this one
        self._dialled: GrpcConnection | None = None
        self._frames_go: Connection | None = None
        self._unjudged: Connection | None = None  # that of the session that ends now
        self._was_answered = False  # in this session
        self._broke_off = False  # the last call ended without the server having said why
        self._failed_with = ""  # id of the server whose shared memory failed
        self._aborted = False
        self.model_spec: ModelSpec | None = None
        self._thread = threading.Thread(target=self._run, name=f"poseloop-{opening.stream}", daemon=True)
        self._thread.start()

    @property
    def transport(self) -> Transport:
        """How frames travel, or would if there were a connection."""
        return "local" if isinstance(self._frames_go, LocalConnection) else "grpc"

    @property
    def connection(self) -> Connection | None:
        """What frames go to, or went to last; None before the first."""
        return self._frames_go

    @property
    def is_current_thread(self) -> bool:
        """Whether a listener asks, on the link's own thread."""
        return threading.current_thread() is self._thread

    def abort(self) -> None:
        """Drop the connection and end the thread."""
        self._aborted = True
        if self._dialled is not None:
            self._dialled.close()
        if not self.is_current_thread:  # a listener may abort too
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._keep_connected()
        except Exception as raised:  # whatever ends this thread has to reach the caller's
            error = raised
        except BaseException as raised:  # of a listener; on the caller's thread it would end what it does not mean
            error = PoseloopError(
                f"a callback of stream {self._opening.stream} raised {raised!r} and so ended the stream; to end the "
                "program, tell its own thread"
            )
            error.__cause__ = raised
        self._flow.ended(error)
        if self._listeners.end is not None:
            self._listeners.end(error)

    def _keep_connected(self) -> None:
        backoff = Backoff()
        while not self._aborted and not self._may_end():
            self._flow.wait_while_open(backoff.next_s())
            connection = self._dialled = GrpcConnection(self._address, self._opening)
            if self._aborted:  # after the loop looked, and before there was a connection to drop
                connection.close()
                return
            try:
                reason = self._serve(connection, backoff)
            except RequestRefusedError as refusal:
                if refusal.code != "ALREADY_EXISTS" or not self._may_linger(connection):
                    raise
                reason = str(refusal)
            else:
                self._taken_since_ns = None
            finally:
                connection.close()
                if self._frames_go is not None:
                    self._frames_go.close()
            self._flow.raise_error()
            self._judge_shared_memory()
            self._note_break(reason)

    def _judge_shared_memory(self) -> None:
        """Use gRPC with this server from now on where its shared memory failed, unless that was insisted on.

        It failed, too, where frames went there and none was answered: the server may be short of handles or memory.
        A server that is gone comes back with another id, and is tried again. One that has lost the connection lets go
        of the memory, often before that is known here, and so does not fail.
        """
        way, self._unjudged = self._unjudged, None
        if not isinstance(way, LocalConnection):
            return
        error = way.failure
        if isinstance(error, LetGoError) and self._broke_off:
            error = None
        if error is None and self._was_answered:
            self._failed_with = ""
            return
        if error is None and not self._flow.waits_for_answers:
            return
        if self._asked == "local" and self._failed_with == self._server_id:
            raise error or LocalTransportError("the server takes no frames from shared memory; see its log")
        self._failed_with = self._server_id

    def _may_linger(self, connection: GrpcConnection) -> bool:
        """Whether the session that has the stream's name may be one of ours that the server did not end yet.

        The one that broke is known by its id. It may stay for long: lossless frames are inferred though their sender is
        gone, when their turn comes. Of one that broke before the server said its id nothing is known, nor when the
        server noticed: from the first refusal on it gets some time.
        """
        if self._broken is None:
            return (now_ns() - self._started_ns) / 1e9 < _LINGER_AT_FIRST_S
        if self._taken_since_ns is None:
            self._taken_since_ns = now_ns()
        if (now_ns() - self._taken_since_ns) / 1e9 < _LINGER_AFTER_BREAK_S:
            return True
        return session_of(connection.channel, self._opening.stream) == self._session

    def _may_end(self) -> bool:
        # A live frame that still waits for a server that is gone is of no use to anyone.
        given_up = self._opening.policy == pb.DELIVERY_POLICY_LIVE and self._broken is not None
        return self._flow.closing and (self._flow.idle or given_up)

    def _serve(self, connection: GrpcConnection, backoff: Backoff) -> str:
        """Handle one connection's replies to its end; returns why it ended."""
        self._broke_off = False
        overdue = self._drop_unless_opened(connection)
        try:
            for reply in connection.replies():
                match reply.WhichOneof("reply"):
                    case "ack":
                        self._was_answered = True
                        ack = reply.ack
                        self._flow.answered(ack.sequence, ack.received_ns, ack.acked_ns, ack.counters)
                    case "pose":
                        self._deliver(reply.pose)
                    case "opened":
                        overdue.cancel()
                        backoff.reset()
                        self._opened(connection, reply.opened)
                    case "closed":
                        self._flow.session_closed(reply.closed.counters)
        except ConnectionBrokenError as broken:
            self._broke_off = True
            return str(broken)
        finally:
            overdue.cancel()
        return "the server ended the stream"

    def _drop_unless_opened(self, connection: GrpcConnection) -> threading.Timer:
        """Let a reconnect take no longer than a server may be silent, nor than half of what is left of ``reconnect_s``.

        A call may be taken, and its network die before the server says that the stream is open; the next may fare
        better. At first it is whoever opens the stream that says how long this may take.
        """
        left_s = max(0.0, self._reconnect_s - self._away_s())
        most_s = min(self._flow.silence_s, max(left_s / 2, _SHORTEST_TRY_S), left_s)
        timer = threading.Timer(most_s, connection.drop, [f"it did not open the stream within {most_s:.3g} s"])
        timer.daemon = True
        if self._broken is not None:
            timer.start()
        return timer

    def _deliver(self, message: pb.Pose) -> None:
        self._was_answered = True
        stamps = message.stamps
        self._flow.answered(message.sequence, stamps.received_ns, stamps.published_ns, message.counters)
        if self._listeners.pose is not None:
            pose = self._understood(pose_from_wire, message, "a pose")
            with self._flow.listening():
                self._listeners.pose(pose)

    def _opened(self, connection: GrpcConnection, opened: pb.Opened) -> None:
        restarted = opened.server_id != self._server_id
        self._server_id = opened.server_id
        self._session = opened.server_id, opened.session_id
        if opened.model_spec:
            self.model_spec = self._understood(
                ModelSpec.model_validate_json, opened.model_spec, "a description of its model"
            )
        clock = None
        if opened.clock_id != clock_id():
            clock = OffsetEstimator()
            measure_clock(connection.channel, clock)
        before = self._flow.counters
        self._was_answered = False
        self._frames_go = self._unjudged = self._way_of_frames(connection, opened)
        self._flow.opened(self._frames_go, opened.window, clock, in_gray=self._leaves_colors_here())
        broken, self._broken = self._broken, None
        if broken is None:
            return
        reconnection = Reconnection(
            stream=self._opening.stream,
            server_restarted=restarted,
            away_s=(now_ns() - broken.at_ns) / 1e9,
            lost=broken.cost.lost,
            dropped_outbox=before.dropped_outbox - broken.counters.dropped_outbox,
            resent=broken.cost.to_resend,
        )
        log.warning("%s", reconnection)
        if self._listeners.reconnection is not None:
            with self._flow.listening():
                self._listeners.reconnection(reconnection)

    def _understood(self, read: Callable[[Wire], Read], message: Wire, what: str) -> Read:
        try:
            return read(message)
        except ValueError:
            raise PoseloopError(
                f"What answers at {self._address} sends {what} that can't be read; it is no poseloop server, or one of "
                "another version."
            ) from None

    def _leaves_colors_here(self) -> bool:
        """Whether frames leave in grey: where the model sees no colours, two thirds of their bytes are of no use."""
        if self.model_spec is None or self.model_spec.color != "gray" or not can_convert():
            return False
        import cv2  # noqa: F401  # now, since the first frame must not wait for it

        return True

    def _way_of_frames(self, call: GrpcConnection, opened: pb.Opened) -> Connection:
        """Return what frames go through: shared memory where the server offers it and this process can attach to it."""
        if not opened.shared_memory:
            if self._asked == "local":
                raise LocalTransportError(
                    f"the local transport was asked for, but the server at {self._address} offers no shared memory: it "
                    "runs on another host, without iceoryx2, or with shared_memory off; use --transport auto."
                )
            return call
        if self._failed_with == opened.server_id and self._asked == "auto":
            log.warning("stream %s: shared memory failed; frames go over gRPC", self._opening.stream)
            return call
        try:
            newest_wins = self._opening.policy == pb.DELIVERY_POLICY_LIVE
            return LocalConnection(call, opened.shared_memory, opened.shared_memory_event, newest_wins=newest_wins)
        except LocalTransportError as error:
            if self._asked == "local":
                raise
            log.warning("stream %s: %s; frames go over gRPC", self._opening.stream, error)
            return call

    def _note_break(self, reason: str) -> None:
        if self._aborted or (self._flow.closing and self._flow.idle):
            return
        if self._broken is None and self._server_id:
            cost = self._flow.broke()
            self._broken = _Broken(now_ns(), cost, self._flow.counters)
            log.warning("stream %s: connection to %s lost (%s)", self._opening.stream, self._address, reason)
        if self._away_s() > self._reconnect_s:
            raise ServerUnavailableError(
                f"The server at {self._address} went away and did not come back within {self._reconnect_s:g} s "
                f"({reason}); stream {self._opening.stream} is over."
            )

    def _away_s(self) -> float:
        return 0.0 if self._broken is None else (now_ns() - self._broken.at_ns) / 1e9
