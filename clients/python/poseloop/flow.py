"""Frames and answers of one sender, between its threads: the outbox and the clock behind one lock.

The caller's thread pushes frames, the link's thread brings connections and answers; whichever of them makes it possible
for a frame to leave, sends it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import NamedTuple, Protocol

from poseloop.beat import Beat
from poseloop.clock import SHARED_CLOCK, ClockOffset, OffsetEstimator, now_ns
from poseloop.encode_choice import Passage
from poseloop.encoder import Encoder
from poseloop.errors import InvalidInputError
from poseloop.messages import FORMAT_TO_WIRE, counters_from_wire
from poseloop.outbox import Break, Outbox, Outgoing, forget_up_to
from poseloop.spacing import Spacing
from poseloop.types import Counters, PixelFormat, Policy
from poseloop.v1 import poseloop_pb2 as pb
from poseloop.wire import FrameData, Leaving

log = logging.getLogger(__name__)

# A server answers a live frame when it arrives and a lossless one when it is published. One that answers nothing for
# this long, with frames in flight, is gone without a word: a pulled cable, a host that stopped.
_SILENCE_NS = {Policy.LIVE: 10_000_000_000, Policy.LOSSLESS: 60_000_000_000}
# How often who waits for the server looks whether it is silent.
_LOOK_S = 1.0
# Long enough for another thread to wake up.
_REST_S = 0.0002
# Where a frame that was not taken yet gives way to a newer one, no frame has to be held back while answers are read;
# this only bounds what is remembered, should the server no longer answer.
_WINDOW_WHERE_NEWEST_WINS = 4096
# An answer that is read so long after it was given waited behind a listener.
_LATE_NS = 20_000_000
# Before the first exchange nothing is known of another machine's clock.
_UNKNOWN_CLOCK = ClockOffset(0, 2**62)


class Connection(Protocol):
    """What frames go to."""

    @property
    def newest_wins(self) -> bool:
        """Whether a frame that was not taken yet gives way to a newer one, so that none has to be held back."""

    def send(self, header: pb.Frame, frame: Leaving) -> None:
        """Hand over a frame, whose ``header`` has no data; copies the data and never blocks."""

    def finish(self) -> None:
        """Say that no more frames will come."""

    def close(self) -> None:
        """Drop the connection, whatever is in flight."""


class _Sent(NamedTuple):
    """A frame on its way: when it left, its bytes before it was compressed (0 for a JPEG of the source's), and what
    compressing took.
    """

    at_ns: int
    pixel_bytes: int
    compress_ns: int


class Flow:
    """The state of one sender; every method may be called from any thread.

    Attributes:
        beat: when frames left.
        latest_format: of the latest of them, as the source gave it; None before the first.
    """

    def __init__(self, stream: str, policy: Policy, encoder: Encoder | None = None) -> None:
        self._stream = stream
        self._policy = policy
        self._encoder = encoder
        self._encoding = False
        self._spacing = Spacing()
        self._in_gray = False
        self._spaces = policy is Policy.LIVE  # whether what the network carries decides when a frame leaves
        self._changed = threading.Condition()
        self._outbox: Outbox[FrameData] = Outbox(policy)
        self._connection: Connection | None = None
        self._clock: OffsetEstimator | None = None
        self._sent: dict[int, _Sent] = {}
        self._frame_header = pb.Frame()
        self.beat = Beat()
        self.latest_format: PixelFormat | None = None
        self._last_answer_ns = 0
        self._listener_runs = False
        self._when_changed: Callable[[], None] | None = None  # of who waits for room, but not on a thread
        self._listener_thread = 0
        self._has_listened = False
        self._listener_lags = False  # poses wait for it
        self._window = 0
        self._window_while_read = 0
        self._opened_once = False
        self._closing = False
        self._ended = False
        self._error: Exception | None = None
        self._error_trace: TracebackType | None = None

    @property
    def counters(self) -> Counters:
        """The stream's account over every session."""
        with self._changed:
            return self._outbox.counters

    @property
    def clock(self) -> ClockOffset:
        """The server's clock against ours, as frames carry it now."""
        with self._changed:
            return self._clock_at(now_ns())

    @property
    def estimates_clock(self) -> bool:
        """Whether the server's clock is another one than ours."""
        return self._clock is not None

    @property
    def in_gray(self) -> bool:
        """Whether colours stay here, since the model sees none."""
        return self._in_gray

    @property
    def connected(self) -> bool:
        """Whether frames can leave now."""
        return self._connection is not None

    @property
    def closing(self) -> bool:
        """Whether no more frames will be pushed."""
        return self._closing

    @property
    def over(self) -> bool:
        """Whether nobody sends any more."""
        return self._ended

    @property
    def idle(self) -> bool:
        """Whether every frame is answered or counted as dropped."""
        with self._changed:
            return self._outbox.idle

    @property
    def waits_for_answers(self) -> bool:
        """Whether frames left in this session and are not answered."""
        with self._changed:
            return self._outbox.unacknowledged > 0

    @property
    def silence_s(self) -> float:
        """How long a server may answer nothing until it is taken for gone."""
        return _SILENCE_NS[self._policy] / 1e9

    def push(self, frame: FrameData) -> int:
        """Take one frame from the source and return its sequence number; lossless, wait for room first."""
        sequence = self._offer(frame)
        if self._policy is Policy.LIVE and not self._may_leave():
            # Locks are not fair: a source that offers without a pause would keep the answers from being read.
            time.sleep(_REST_S)
        return sequence

    def _offer(self, frame: FrameData) -> int:
        with self._changed:
            self._check()
            while not self._outbox.has_room:
                if self._listener_runs and threading.get_ident() == self._listener_thread:
                    raise InvalidInputError(
                        f"a callback of stream {self._stream} can't send a frame that there is no room for yet, since "
                        "it would wait for itself; send it on another thread"
                    )
                self._changed.wait(_LOOK_S)
                self._check()
            if self._policy is Policy.LOSSLESS or not self._may_leave():
                frame = frame.owned()  # it is still needed after the source has its buffer back
            sequence = self._outbox.offer(frame)
            self._pump()
            return sequence

    def push_if_room(self, frame: FrameData, when_changed: Callable[[], None]) -> int | None:
        """Take one lossless frame if there is room; else return None, and call ``when_changed`` once there may be.

        It is called with the lock held, on any thread. One waits at a time: a later call takes its place.
        """
        with self._changed:
            self._check()
            if not self._outbox.has_room:
                self._when_changed = when_changed
                return None
            sequence = self._outbox.offer(frame.owned())
            self._pump()
            return sequence

    def opened(
        self, connection: Connection, window: int, clock: OffsetEstimator | None, *, in_gray: bool = False
    ) -> None:
        """Let frames go to this connection.

        Args:
            connection: that they go through.
            window: how many may be unacknowledged; where the newest wins, only while a listener keeps answers unread.
            clock: None where the server shares our clock.
            in_gray: whether colours stay here, since the model sees none.
        """
        with self._changed:
            self._in_gray = in_gray
            self._spaces = self._policy is Policy.LIVE and not connection.newest_wins
            self._window, self._window_while_read = window, window
            if connection.newest_wins:
                self._window_while_read = max(window, _WINDOW_WHERE_NEWEST_WINS)
            self._listener_lags = False
            self._outbox.opened(self._window_while_read)
            self._spacing = Spacing()
            if self._encoder is not None:
                self._encoder.begin()
            self._connection = connection
            self._clock = clock
            self._opened_once = True
            self._pump()
            self._finish_if_done()
            self._tell()

    def answered(self, sequence: int, received_ns: int, answered_ns: int, counters: pb.StreamCounters) -> None:
        """Note the server's answer to a frame, with when it received and answered it on its clock."""
        arrived_ns = now_ns()
        with self._changed:
            self._last_answer_ns = arrived_ns
            sent = self._sent.pop(sequence, None)
            if sent is not None:
                self._learn(sequence, sent, received_ns, answered_ns, arrived_ns)
            if self._policy is Policy.LIVE:
                forget_up_to(sequence, self._sent)
            self._outbox.acknowledge(sequence, counters_from_wire(counters))
            if self._has_listened and self._window_while_read > self._window:
                # Shared memory is of this host, so both read one clock.
                self._listener_lags = arrived_ns - answered_ns > _LATE_NS
                self._choose_window()
            self._pump()
            self._finish_if_done()
            self._tell()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While a listener runs no answers are read, which says nothing of the server.

        Nor does shared memory then take every frame, since their poses would queue in the call, ever older: as over
        gRPC, unread answers close the window, and frames give way in the outbox.
        """
        with self._changed:
            self._listener_runs = self._has_listened = True
            self._listener_thread = threading.get_ident()
            self._choose_window()
        try:
            yield
        finally:
            with self._changed:
                self._listener_runs = False
                self._last_answer_ns = now_ns()
                self._choose_window()
                self._pump()

    def session_closed(self, counters: pb.StreamCounters) -> None:
        """Note the session's last account."""
        with self._changed:
            self._outbox.closed(counters_from_wire(counters))

    def broke(self) -> Break:
        """The connection is gone; frames wait, or are replaced and counted, until the next one."""
        with self._changed:
            self._connection = None
            self._sent.clear()
            cost = self._outbox.broke()
            self._tell()
            return cost

    def ended(self, error: Exception | None) -> None:
        """Nobody sends any more; what still waits is counted as dropped."""
        with self._changed:
            self._connection = None
            self._note_error(error)
            self._ended = True
            if self._policy is Policy.LIVE:
                self._outbox.broke()
                self._outbox.give_up()
            if self._encoder is not None:
                self._encoder.close()
            self._tell()

    def _compressed(
        self,
        outgoing: Outgoing[FrameData],
        connection: Connection,
        pixel_bytes: int,
        frame: FrameData,
        took_ns: int,
    ) -> None:
        with self._changed:
            self._encoding = False
            if connection is self._connection:  # otherwise its frames are accounted for already
                self._send(connection, outgoing, frame, pixel_bytes, took_ns)
            self._pump()

    def _not_compressed(self, error: Exception) -> None:
        with self._changed:
            self._note_error(error)
            if self._connection is not None:
                self._connection.close()
            self._tell()

    def wait_until_open(self, timeout_s: float) -> bool:
        """Wait for the first session; false where none came in time.

        Raises:
            Exception: the one that the link ended with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._opened_once or self._ended, timeout_s)
            if (error := self._error_as_it_was()) is not None:
                raise error
            return self._opened_once

    def raise_error(self) -> None:
        """Raise what another thread found wrong, if anything."""
        with self._changed:
            if (error := self._error_as_it_was()) is not None:
                raise error

    def close(self, timeout_s: float | None, away_s: float = math.inf) -> Exception | None:
        """Take no more frames, wait until the last is answered, and return the error that the link ended with.

        Args:
            timeout_s: how long to wait; None: as long as there is a connection.
            away_s: how long to wait for one.
        """
        with self._changed:
            self._closing = True
            self._finish_if_done()
            self._tell()
            deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
            away_until_s = time.monotonic() + away_s
            while not self._ended:
                now_s = time.monotonic()
                if self._connection is not None:
                    away_until_s = now_s + away_s
                left_s = deadline_s - now_s if self._connection else min(deadline_s, away_until_s) - now_s
                if left_s <= 0:
                    break
                self._changed.wait(min(left_s, _LOOK_S))
                self._check_silence()
            return self._error_as_it_was()

    def wait_while_open(self, seconds: float) -> None:
        """Wait between two tries to connect, but no longer than until the sender is closed."""
        with self._changed:
            if self._closing:
                self._changed.wait(seconds)
            else:
                self._changed.wait_for(lambda: self._closing, seconds)

    # What follows is called with the lock held.

    def _tell(self) -> None:
        self._changed.notify_all()
        call, self._when_changed = self._when_changed, None
        if call is not None:
            call()

    def _note_error(self, error: Exception | None) -> None:
        if self._error is None and error is not None:
            self._error, self._error_trace = error, error.__traceback__

    def _error_as_it_was(self) -> Exception | None:
        """Return the error to be raised once more: each raise adds to its traceback, which holds the raiser's frames
        with all that they hold, an image for example.
        """
        return None if self._error is None else self._error.with_traceback(self._error_trace)

    def _check(self) -> None:
        if (error := self._error_as_it_was()) is not None:
            raise error
        if self._closing or self._ended:
            raise InvalidInputError(f"the sender of stream {self._stream!r} is closed; open a new one")
        self._check_silence()

    def _check_silence(self) -> None:
        silent_ns = now_ns() - self._last_answer_ns
        is_asked = (self._outbox.unacknowledged or self._closing) and not self._listener_runs
        if self._connection is not None and is_asked and silent_ns > _SILENCE_NS[self._policy]:
            log.warning("stream %s: the server answers nothing for %.0f s", self._stream, silent_ns / 1e9)
            connection, self._connection = self._connection, None
            connection.close()

    def _choose_window(self) -> None:
        is_behind = self._listener_runs or self._listener_lags
        self._outbox.resize(self._window if is_behind else self._window_while_read)

    def _finish_if_done(self) -> None:
        if self._closing and self._connection is not None and self._outbox.idle:
            self._connection.finish()
            self._last_answer_ns = now_ns()  # as for a frame: from here on the server has to answer

    def _clock_at(self, client_ns: int) -> ClockOffset:
        return SHARED_CLOCK if self._clock is None else self._clock.best_at(client_ns) or _UNKNOWN_CLOCK

    def _may_leave(self) -> bool:
        """Whether a frame that is offered now would leave at once."""
        return self._connection is not None and self._outbox.may_leave and self._is_free()

    def _is_free(self) -> bool:
        """Whether no frame is being compressed, and the network has room for the next as far as is known."""
        return not self._encoding and (not self._spaces or self._spacing.may_follow(now_ns()))

    def _pump(self) -> None:
        while self._connection is not None and self._is_free() and (outgoing := self._outbox.take()) is not None:
            if self._outbox.unacknowledged == 1:
                self._last_answer_ns = now_ns()  # silence counts from when there is something to answer
            source: Leaving = outgoing.payload.in_gray() if self._in_gray else outgoing.payload
            if self._encoder is not None and self._encoder.takes(source):
                self._encoding = True
                done = partial(self._compressed, outgoing, self._connection, source.nbytes)
                self._encoder.start(source.owned(), done, self._not_compressed)
            else:
                pixel_bytes = 0 if source.format is PixelFormat.JPEG else source.nbytes
                self._send(self._connection, outgoing, source, pixel_bytes)

    def _send(
        self,
        connection: Connection,
        outgoing: Outgoing[FrameData],
        frame: Leaving,
        pixel_bytes: int,
        compress_ns: int = 0,
    ) -> None:
        sent = self._sent[outgoing.sequence] = _Sent(now_ns(), pixel_bytes, compress_ns)
        connection.send(self._header(outgoing, frame, sent.at_ns), frame)
        if self._spaces:
            self._spacing.sent(outgoing.sequence, frame.nbytes, sent.at_ns)
        self.beat.note(sent.at_ns)
        self.latest_format = outgoing.payload.format

    def _learn(self, sequence: int, sent: _Sent, received_ns: int, answered_ns: int, arrived_ns: int) -> None:
        """Note what the answer to a frame says of the server's clock and of the network."""
        if self._clock is not None:
            self._clock.add(sent.at_ns, received_ns, answered_ns, arrived_ns)
        if not self._spaces:
            return
        self._spacing.answered(sequence, arrived_ns)
        if self._encoder is not None and sent.pixel_bytes:
            passage = Passage(sent.compress_ns > 0, sent.pixel_bytes, sent.compress_ns, arrived_ns - sent.at_ns)
            self._encoder.passed(passage, arrived_ns)

    def _header(self, outgoing: Outgoing[FrameData], frame: Leaving, sent_ns: int) -> pb.Frame:
        """Return the message, which is the same each time: it holds until the next frame."""
        header, clock = self._frame_header, self._clock_at(sent_ns)
        header.sequence = outgoing.sequence
        header.captured_client_ns = frame.captured_ns
        header.sent_client_ns = sent_ns
        header.width = frame.width
        header.height = frame.height
        header.format = FORMAT_TO_WIRE[frame.format]
        client = header.client
        client.sent = outgoing.sent
        client.dropped_outbox = outgoing.dropped_outbox
        client.lost_connection = outgoing.lost_connection
        header.clock_offset_ns = clock.offset_ns
        header.clock_uncertainty_ns = clock.uncertainty_ns
        return header
