"""The thread that owns a model: takes frames of ready streams in turn and makes them published poses."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from queue import SimpleQueue

import numpy as np
from poseloop.clock import now_ns
from poseloop.errors import PoseloopError
from poseloop.types import Policy

from poseloop_server import replies
from poseloop_server.events import Events
from poseloop_server.frames import IncomingFrame, to_image
from poseloop_server.jobs import Job, WaitingJobs
from poseloop_server.model import PoseModel
from poseloop_server.pose_writer import PoseWriter
from poseloop_server.sinks.base import Sink, pose_topic
from poseloop_server.stream import Stream

_log = logging.getLogger(__name__)
# The shortest sleep that the system has, some 60 us on Linux; Windows' would be longer than what it gains.
_GIVE_WAY_S = 0.0 if sys.platform == "win32" else 1e-6


class _Member:
    """A stream as its model's thread sees it."""

    def __init__(self, stream: Stream, writer: PoseWriter) -> None:
        self.stream = stream
        self.writer = writer
        self.topic = pose_topic(stream.identity.name).encode()


class Scheduler:
    """Runs one model for all its streams.

    A stream stands in the queue exactly once while frames wait in its mailbox, and goes to the end after its turn: so
    turns are fair, a stream that sends faster gains nothing, and what is taken is the newest at that moment. The
    queue is `queue.SimpleQueue`, whose waiting is done in C.
    """

    def __init__(self, model: PoseModel, sink: Sink, events: Events, server_id: str) -> None:
        self.model = model
        self._sink = sink
        self._events = events
        self._server_id = server_id
        self._members: dict[int, _Member] = {}  # by session id; changed on the event loop's thread only
        self._jobs = WaitingJobs()
        self._ready: SimpleQueue[_Member | WaitingJobs | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"model {model.name}", daemon=True)
        self._thread.start()

    @property
    def streams(self) -> list[Stream]:
        """The streams that use this model."""
        return [member.stream for member in self._members.values()]

    def add(self, stream: Stream) -> None:
        """Serve a stream from now on."""
        writer = PoseWriter(stream.identity, self.model.spec, self._server_id)
        self._members[stream.identity.session_id] = _Member(stream, writer)

    def remove(self, stream: Stream) -> None:
        """Forget a stream, of which no frame waits any more."""
        del self._members[stream.identity.session_id]

    def wake(self, stream: Stream) -> None:
        """Tell that a frame waits in a mailbox that was empty, and let the model's thread start on it first.

        Otherwise the event loop would hold the interpreter until its acknowledgement is written, and the frame wait.
        """
        self._ready.put(self._members[stream.identity.session_id])
        time.sleep(_GIVE_WAY_S)

    def submit(self, job: Job) -> None:
        """Let a job have turns between those of the streams."""
        if self._jobs.put(job):
            self._ready.put(self._jobs)

    def stop(self) -> None:
        """End the thread after the turns that are due; waits for it."""
        self._ready.put(None)
        self._thread.join()
        self._jobs.close()

    def _run(self) -> None:
        while (member := self._ready.get()) is not None:
            if isinstance(member, WaitingJobs):
                if member.run_turn(self.model):
                    self._ready.put(member)
                continue
            frame = member.stream.mailbox.take()
            if frame is None:
                continue
            if len(member.stream.mailbox):
                self._ready.put(member)
            try:
                self._serve(member, frame)
            except Exception:  # a defect of ours: a server whose model serves nobody any more must not look alive
                _log.critical("the thread of model %s failed; the server stops", self.model.name, exc_info=True)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            del frame  # it may lie in memory that its stream shares with its sender

    def _serve(self, member: _Member, frame: IncomingFrame) -> None:
        """Turn one frame into a pose; what fails on it stays with it."""
        stream = member.stream
        try:
            image = to_image(frame, self.model.spec.color)
            started_ns = now_ns()
            keypoints = self.model.infer(image[np.newaxis])[0]
            ended_ns = now_ns()
        except (PoseloopError, MemoryError) as error:
            self._fail(stream, frame, error)
            return
        stream.published += 1
        stream.failing = False
        pose, published_ns = member.writer.write(stream, frame, keypoints, started_ns, ended_ns)
        self._sink.publish(member.topic, pose)
        # Before the answer: once every frame is answered the stream may close, and its sums are taken.
        stream.latencies.add(
            published_ns,
            age_ms=(published_ns - frame.captured_ns) / 1e6,
            wait_ms=(started_ns - frame.received_ns) / 1e6,
            inference_ms=(ended_ns - started_ns) / 1e6,
        )
        stream.answer(_reply(stream, frame, pose))

    def _fail(self, stream: Stream, frame: IncomingFrame, error: Exception) -> None:
        """Count a frame as failed; of several in a row the first is reported."""
        stream.failed += 1
        if not stream.failing:
            stream.failing = True
            self._events.failed(stream, f"frame {frame.sequence}: {error}")
        stream.answer(_reply(stream, frame, None))


def _reply(stream: Stream, frame: IncomingFrame, pose: bytes | None) -> bytes | None:
    """Return what the client gets once its frame is dealt with; in live mode it has its acknowledgement already."""
    if pose is not None and stream.identity.return_poses:
        return replies.pose(pose)
    if stream.identity.policy is Policy.LOSSLESS:
        return replies.ack(stream, frame)
    return None
