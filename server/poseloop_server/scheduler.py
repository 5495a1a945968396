"""The thread that owns a model: takes frames of ready streams in turn and makes them published poses."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from poseloop.beat import Beat
from poseloop.clock import now_ns
from poseloop.crop import CropView
from poseloop.errors import PoseloopError

from poseloop_server.doorbell import Doorbell
from poseloop_server.events import Events
from poseloop_server.following import Following
from poseloop_server.frames import IncomingFrame
from poseloop_server.jobs import Job, WaitingJobs
from poseloop_server.member import Loop, Member, Size
from poseloop_server.model import PoseModel
from poseloop_server.placement import Placement
from poseloop_server.rehearsal import Rehearsal
from poseloop_server.sinks.base import Sink
from poseloop_server.stream import Stream
from poseloop_server.turns import Turns

_log = logging.getLogger(__name__)
# The shortest sleep that the system has, some 60 us on Linux; Windows' would be longer than what it gains.
_GIVE_WAY_S = 0.0 if sys.platform == "win32" else 1e-6
_PRIORITY_OF_JOBS = 0  # that of a stream that asks for none
# A ring ends the wait; this bounds it, for acknowledgements that are due and should a ring be lost.
_SLICE_S = 0.05
# After a turn nothing has to be rehearsed for so long; and how much too early a rehearsal may be.
_STAYS_WARM_NS = 2_000_000
_EARLY_NS = 1_000_000
# The frame that was rehearsed for comes within this time.
_EXPECTED_S = 0.004


class FrameSource(Protocol):
    """Where the model's thread fetches a stream's frames itself; all of it is called on that thread."""

    over: bool
    """No more frames will come."""

    def take_in(self) -> bool:
        """Put what has arrived into the stream's mailbox; returns whether the stream has to stand in line."""

    def rest(self) -> None:
        """Do what can wait until there is nothing else to do."""

    def abandon(self) -> None:
        """Let whoever waits for the source go on: nobody will take in any more."""


@dataclass(slots=True)
class _Swap:
    """Another version of the model, on its way to the thread; afterwards holds the one that it replaced."""

    model: PoseModel
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Source:
    """A stream whose frames the thread has to fetch from now on, on its way to the thread."""

    member: Member
    source: FrameSource


class _Look(NamedTuple):
    """What a stream with a crop has seen of a frame in the end; no view: inference failed."""

    keypoints: NDArray[np.float32]
    view: CropView | None
    ended_ns: int


_Taken = tuple[Member, IncomingFrame]


class Scheduler:
    """Runs one model for all its streams.

    A stream stands in line exactly once while frames wait in its mailbox, and goes to the end of its priority's line
    after its turn: so turns are fair, a stream that sends faster gains nothing, and what is taken is the newest at that
    moment. What becomes ready comes in through a `queue.SimpleQueue`, whose waiting is done in C; but while a stream
    comes through shared memory the thread waits for the `Doorbell` that its sender rings, and fetches frames itself.

    Shortly before a live stream's next frame is due the thread takes a turn with a small frame of its own, since after
    a pause all that a turn needs has left the caches (docs/performance.md).

    Attributes:
        model: the version that the next stream is opened with.
        placement: where its thread runs.
    """

    def __init__(
        self,
        model: PoseModel,
        sink: Sink,
        events: Events,
        server_id: str,
        placement: Placement | None = None,
        *,
        keep_warm: bool = True,
    ) -> None:
        self.model = model
        self.placement = placement or Placement()
        self._sink = sink
        self._events = events
        self._server_id = server_id
        self._members: dict[int, Member] = {}  # by session id; changed on the event loop's thread only
        self._jobs = WaitingJobs()
        self._opening = threading.Lock()
        self._ready: SimpleQueue[Member | WaitingJobs | _Swap | _Source | None] = SimpleQueue()
        self._bell: Doorbell | None = None
        self._listens = False  # whether the thread waits for the bell; written by the thread
        # What follows is the thread's own:
        self._turns: Turns[Member | WaitingJobs] = Turns()
        self._running = model
        self._infer = model.infer
        self._rehearsal = Rehearsal(model, events, server_id) if keep_warm else None
        self._served_ns = 0  # when the latest turn ended
        self._ending = False
        self._ended = False
        self._sources: list[_Source] = []
        self._thread = threading.Thread(target=self._run, name=f"model {model.name}", daemon=True)
        self._thread.start()

    @property
    def rehearsals(self) -> int:
        """How many turns were rehearsed with this version of the model."""
        return 0 if self._rehearsal is None else self._rehearsal.times

    @property
    def streams(self) -> list[Stream]:
        """The streams that use this model."""
        return [member.stream for member in self._members.values()]

    def open_bell(self, name: str) -> Doorbell:
        """Return the bell of this model, made at the first call; off the event loop.

        Raises:
            LocalTransportError: the host's shared memory can't be used.
        """
        with self._opening:
            if self._bell is None:
                self._bell = Doorbell(name)
            return self._bell

    def add(self, stream: Stream, loop: Loop | None = None) -> None:
        """Serve a stream from now on; ``loop`` acts on its poses."""
        self._members[stream.identity.session_id] = Member(
            stream, self.model, self._sink, self._events, self._server_id, loop
        )

    def fetch(self, stream: Stream, source: FrameSource) -> None:
        """Let the thread fetch a stream's frames until the source is over; the bell has to be there."""
        self._put(_Source(self._members[stream.identity.session_id], source))
        if self._ended:
            source.abandon()

    def remove(self, stream: Stream) -> None:
        """Forget a stream, of which no frame waits any more."""
        del self._members[stream.identity.session_id]

    def wake(self, stream: Stream) -> None:
        """Tell that a frame waits in a mailbox that was empty, and let the model's thread start on it first.

        Otherwise the event loop would hold the interpreter until its acknowledgement is written, and the frame wait.
        """
        self._put(self._members[stream.identity.session_id])
        time.sleep(_GIVE_WAY_S)

    def submit(self, job: Job) -> None:
        """Let a job have turns between those of the streams."""
        if self._jobs.put(job):
            self._put(self._jobs)

    def swap(self, model: PoseModel) -> _Swap:
        """Let another version serve from the next inference on; on the event loop's thread, see `wait_for`.

        It keeps the name and has to fit the streams that run, which the registry checks.
        """
        swap = _Swap(model)
        self.model = model
        self._put(swap)
        return swap

    def wait_for(self, swap: _Swap) -> None:
        """Wait until a version has taken over, and let go of the one before; off the event loop."""
        while self._thread.is_alive() and not swap.done.wait(1.0):
            pass
        swap.model = self.model

    def stop(self) -> None:
        """End the thread after the turns that are due; waits for it."""
        self._put(None)
        self._thread.join()
        self._jobs.close()
        if self._bell is not None:
            self._bell.close()

    def _put(self, item: Member | WaitingJobs | _Swap | _Source | None) -> None:
        """Hand something to the thread, and wake it."""
        self._ready.put(item)
        # The thread says that it listens before it looks into the queue for the last time.
        if self._listens and self._bell is not None:
            self._bell.ring()

    # What follows is done by the thread.

    def _run(self) -> None:
        try:
            self.placement.pin()
            while self._line_up():
                self._take_turn()
                self._served_ns = now_ns()
        except Exception:  # a defect of ours: a server whose model serves nobody any more must not look alive
            _log.critical("the thread of model %s failed; the server stops", self.model.name, exc_info=True)
            _ask_to_stop()
        finally:
            self._ended, self._listens = True, False
            while self._ready.qsize():
                if isinstance(item := self._ready.get(), _Source):
                    self._sources.append(item)
            for fetched in self._sources:
                fetched.source.abandon()

    def _line_up(self) -> bool:
        """Put those who became ready in line, and wait where nobody is; false where the thread has to end."""
        turns, ready = self._turns, self._ready
        while True:
            while ready.qsize():
                self._accept(ready.get())
            if self._sources:
                self._fetch()
            if turns or self._ending:
                return bool(turns)
            for fetched in self._sources:
                fetched.source.rest()
            due_ns = self._warm_up_ns()
            if due_ns is None:
                self._wait()
            elif self._rest_until(due_ns):
                self._rehearse()

    def _wait(self) -> None:
        """Wait for whoever becomes ready."""
        if not self._listens:
            self._accept(self._ready.get())
        elif not self._ready.qsize() and self._bell is not None:
            self._bell.wait(_SLICE_S)

    def _warm_up_ns(self) -> int | None:
        """Return when to rehearse next, if that can be said."""
        if self._rehearsal is None:
            return None
        return min((due_ns for _, due_ns in self._beats(now_ns())), default=None)

    def _beats(self, asked_ns: int) -> Iterator[tuple[Beat, int]]:
        """Yield the beats of live streams, each with when to warm up for its next frame."""
        for member in list(self._members.values()):
            beat = member.stream.beat
            if member.live is not None and (due_ns := beat.warm_up_ns(asked_ns)) is not None:
                yield beat, due_ns

    def _rest_until(self, due_ns: int) -> bool:
        """Wait until then, or a little less; false where something may be there to do before."""
        left_ns = due_ns - now_ns()
        if self._listens and self._bell is not None:
            if left_ns > _SLICE_S * 1e9:
                self._wait()
                return False
            return not self._ready.qsize() and not self._bell.rest(left_ns)
        try:
            self._accept(self._ready.get(timeout=max(0, left_ns) / 1e9))
        except Empty:
            return True
        return False

    def _rehearse(self) -> None:
        """Take a turn with a frame of nobody's, for those that are about to come, unless they may be there already."""
        asked_ns = now_ns()
        due = [(beat, due_ns) for beat, due_ns in self._beats(asked_ns) if due_ns <= asked_ns + _EARLY_NS]
        rehearsal = self._rehearsal
        if not due or rehearsal is None or self._ready.qsize():
            return
        if asked_ns - self._served_ns > _STAYS_WARM_NS:
            self._infer = self._running.rehearse
            try:
                rehearsal.put()
                self._turns.add(rehearsal.member.priority, rehearsal.member)
                self._take_turn()
            finally:
                self._infer = self._running.infer
        ended_ns = now_ns()
        for beat, due_ns in due:
            beat.warmed_up(max(due_ns, ended_ns))
        if self._listens and self._bell is not None and not self._ready.qsize():
            self._bell.wait(_EXPECTED_S)  # which a ring ends sooner than a rest

    def _accept(self, item: Member | WaitingJobs | _Swap | _Source | None) -> None:
        match item:
            case Member() as member:
                self._turns.add(member.priority, member)
            case WaitingJobs() as jobs:
                self._turns.add(_PRIORITY_OF_JOBS, jobs)
            case _Swap() as swap:
                self._take_over(swap)
            case _Source() as fetched:
                self._sources.append(fetched)
                self._listens = True
            case None:
                self._ending = True

    def _fetch(self) -> None:
        """Take in the frames that lie in shared memory."""
        ended = False
        for fetched in self._sources:
            if fetched.source.take_in():
                self._turns.add(fetched.member.priority, fetched.member)
            ended = ended or fetched.source.over
        if ended:
            self._sources = [fetched for fetched in self._sources if not fetched.source.over]
            self._listens = bool(self._sources)

    def _take_turn(self) -> None:
        """Serve who is next, together with those whose frames are best inferred with this one."""
        member = self._turns.next()
        if isinstance(member, WaitingJobs):
            if member.run_turn(self._running) and not self._ending:
                self._turns.add(_PRIORITY_OF_JOBS, member)
            return
        frame = member.stream.mailbox.take()
        if frame is None:
            return
        if member.stream.mailbox.more:
            self._turns.add(member.priority, member)
        taken = [(member, frame)]
        plan = self._running.batch_plan
        size: Size | None = (frame.width, frame.height)
        if member.following is not None:
            size = member.following.next_size(frame.width, frame.height)
        if size is None or size[0] * size[1] > plan.largest_pixels or member.live is None:
            self._serve(taken)
            return
        taken += self._companions(member, size)
        while taken:
            together = plan.size(len(taken))
            self._serve(taken[:together])
            del taken[:together]

    def _companions(self, first: Member, size: Size) -> list[_Taken]:
        """Take the frames that one inference is shared with: live, of the same priority and size, in their order."""
        alike = [
            (member, member.live, frames)
            for member in self._turns.peers(first.priority)
            if isinstance(member, Member)
            and member.live is not None
            and (frames := member.frames_for(size)) is not None
            and member.live.holds(*frames)
        ]
        companions: list[_Taken] = []
        for member, mailbox, frames in alike[: self._running.batch_plan.size(1 + len(alike)) - 1]:
            newest = mailbox.take_of(*frames)
            if newest is not None:
                self._turns.remove(first.priority, member)
                companions.append((member, newest))
        return companions

    def _serve(self, taken: list[_Taken]) -> None:
        """Turn frames of one size into poses with one inference; what fails on one of them stays with it."""
        model = self._running
        images = []
        sound: list[_Taken] = []
        for member, frame in taken:
            try:
                images.append(member.image_of(frame, model.spec.color))
            except (PoseloopError, MemoryError) as error:
                member.fail(frame, error)
            else:
                sound.append((member, frame))
        if not sound:
            return
        try:
            started_ns = now_ns()
            poses = self._infer(images[0][np.newaxis] if len(images) == 1 else np.stack(images))
            ended_ns = now_ns()
        except (PoseloopError, MemoryError) as error:
            if len(sound) == 1:
                sound[0][0].fail(sound[0][1], error)
                return
            for one in sound:  # which of them it was shows when each is alone
                self._serve([one])
            return
        # All further looks first: what is done with one stream's pose is no part of another one's inference.
        looks = {
            number: self._look_again(member, member.following, frame, poses[number], ended_ns)
            for number, (member, frame) in enumerate(sound)
            if member.following is not None
        }
        for number, (member, frame) in enumerate(sound):
            look = looks.get(number)
            if look is None:
                member.publish(frame, poses[number], started_ns, ended_ns, images[number])
            elif look.view is not None:
                member.publish(frame, look.keypoints, started_ns, look.ended_ns, images[number], look.view)

    def _look_again(
        self, member: Member, following: Following, frame: IncomingFrame, seen: NDArray[np.float32], ended_ns: int
    ) -> _Look:
        """Return what a window showed once the frame needs no further look, and when the last one ended."""

        def infer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            nonlocal ended_ns
            found = self._running.infer(images)
            ended_ns = now_ns()
            return found

        try:
            keypoints, view = following.finish(seen, infer)
        except (PoseloopError, MemoryError) as error:
            member.fail(frame, error)
            return _Look(seen, None, ended_ns)
        return _Look(keypoints, view, ended_ns)

    def _take_over(self, swap: _Swap) -> None:
        """Let another version make the poses from here on, and tell the streams."""
        swap.model, self._running = self._running, swap.model
        self._infer = self._running.infer
        if self._rehearsal is not None:
            self._rehearsal = Rehearsal(self._running, self._events, self._server_id)
        for member in list(self._members.values()):
            member.take_over(swap.model, self._running)
        swap.done.set()


def _ask_to_stop() -> None:
    """Let the process stop in order; on Windows `os.kill` would end it at once, with its outputs as they are."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
