"""The loop of one stream of a running server: decides at each pose, and has done what was decided."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.crop import CropView

from poseloop_server.frames import IncomingFrame
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.decision import Arming, Decision, Step
from poseloop_server.loop.pose import LoopPose
from poseloop_server.model import PoseModel
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.record.encode import PoseRecord, packed
from poseloop_server.record.writer import LogWriter

TRACK_LOST = "track lost"
SILENT = "no pose comes any more"
FAILED = "the loop failed"
_log = logging.getLogger(__name__)


class LiveLoop:
    """Runs a chain on what the model saw; the `poseloop_server.member.Loop` of a stream.

    Commands leave before the pose is published, and before anything is logged: they are what is in a hurry.

    Args:
        chain: of the stream.
        keypoints: names, in the order of their axis.
        outputs: by name.
        log: None where there is no record.

    Attributes:
        failures: how many poses it failed on, by a defect; they were published as the model saw them.
    """

    def __init__(
        self,
        chain: StreamLoop,
        keypoints: tuple[str, ...],
        outputs: Mapping[str, OutputRunner],
        log: LogWriter | None,
    ) -> None:
        self.chain = chain
        self.keypoints = keypoints
        self.needs_image = chain.needs_image
        self._seen_values = chain.seen_values
        self._outputs = outputs
        self._for_poses = [output for output in outputs.values() if output.takes_poses]
        self._log = log
        # What the chain was told and what the log says of it must come in one order.
        self._lock = threading.Lock()
        self._unlogged: tuple[PoseRecord, Step] | None = None
        self.failures = 0

    def step(
        self,
        frame: IncomingFrame,
        keypoints: NDArray[np.float32],
        inference_ns: tuple[int, int],
        view: CropView | None,
        image: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.float32], int]:
        """Decide and act, and return the keypoints to publish and the time that they are of."""
        doubts = [TRACK_LOST] if view is not None and view.lost else []
        pose = LoopPose(
            stream=self.chain.stream,
            sequence=frame.sequence,
            captured_ns=frame.captured_ns,
            decided_ns=inference_ns[1],
            time_ns=frame.captured_ns,
            width=frame.width,
            height=frame.height,
            names=self.keypoints,
            keypoints=keypoints,
            image=image,
            doubts=list(doubts),
        )
        try:
            staged = self.chain.stage(pose)
            with self._lock:
                step = self.chain.decide(staged, now_ns())
                self._act(step.decisions)
                if self._log is not None:
                    values = {name: value for name, value in step.pose.values.items() if name in self._seen_values}
                    record = _record(frame, keypoints, inference_ns, doubts, step.pose, values)
                    self._unlogged = (record, step)
            for output in self._for_poses:
                output.submit_pose(step.pose)
        except Exception as error:  # a defect of ours, which must not end the model's thread and all its streams
            self._broke(frame.sequence, error)
            return keypoints, frame.captured_ns
        return step.pose.keypoints, step.pose.time_ns

    def published(self, published_ns: int) -> None:
        """Log the pose, which is on its way to the subscribers."""
        if self._log is None:
            return
        with self._lock:
            self._log_pose(published_ns)

    def swapped(self, model: PoseModel) -> None:
        """Put into the record that another version of the model makes the poses from here on."""
        if self._log is not None:
            self._log.model_swapped(self.chain.stream, model.name, model.sha256)

    def end(self, reason: str) -> None:
        """Let active triggers fall: the stream was closed, and its model's thread is done with it."""
        with self._lock:
            self._end(reason)

    def stop(self, reason: str) -> None:
        """Let triggers fall that are still active since their stream was not closed: the server stops."""
        if self.chain.is_active:
            with self._lock:
                self._end(reason)

    def end_if_silent(self) -> None:
        """Let active triggers fall where no pose has come for too long, lest a laser stay on; report what hangs."""
        now = now_ns()
        self.chain.tell_if_hanging(now)
        if self.chain.overdue(now):
            with self._lock:
                if self._unlogged is None and self.chain.overdue(now):
                    self._end(SILENT)

    def _log_pose(self, published_ns: int) -> None:
        """Put the pose that was decided at into the log, if one is not there yet."""
        if self._log is not None and self._unlogged is not None:
            record, step = self._unlogged
            self._unlogged = None
            self._say_armed(step.arming, record.decided_ns)
            self._log.pose(record._replace(published_ns=published_ns), step.decisions)

    def _broke(self, sequence: int, error: Exception) -> None:
        """Let the pose go on without the loop, with nothing left on; the record says that it lacks it."""
        if not self.failures:
            _log.error("stream %s: its loop failed at frame %d", self.chain.stream, sequence, exc_info=error)
        self.failures += 1
        with self._lock:
            self._unlogged = None
            if self._log is not None:
                self._log.missed_pose(self.chain.stream)
                message = f"the loop failed at frame {sequence}: {type(error).__name__}: {error}"
                self._log.problem(f"stream {self.chain.stream}", message)
            try:
                self._end(FAILED)
            except Exception:  # then the outputs are put to rest when the server stops
                _log.exception("stream %s: its triggers could not be ended", self.chain.stream)

    def _end(self, reason: str) -> None:
        self._log_pose(0)  # one that the model's thread did not come to publish
        ending = self.chain.end(reason, now_ns())
        self._act(ending.decisions)
        if self._log is not None:
            self._say_armed(ending.arming, ending.decided_ns)
            self._log.ended(ending.stream, reason, ending.decided_ns, ending.decisions)

    def _act(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            for command in decision.commands:
                self._outputs[command.output].submit(command)

    def _say_armed(self, arming: Sequence[Arming], time_ns: int) -> None:
        if self._log is not None:
            for one in arming:
                self._log.armed(self.chain.stream, one.trigger, one.armed, time_ns)


def _record(
    frame: IncomingFrame,
    keypoints: NDArray[np.float32],
    inference_ns: tuple[int, int],
    doubts: list[str],
    after: LoopPose,
    values: dict[str, float],
) -> PoseRecord:
    """Return what the log says of a pose that has not been published yet."""
    return PoseRecord(
        stream=after.stream,
        sequence=frame.sequence,
        captured_ns=frame.captured_ns,
        received_ns=frame.received_ns,
        inference_started_ns=inference_ns[0],
        inference_ended_ns=inference_ns[1],
        decided_ns=after.decided_ns,
        published_ns=0,
        width=frame.width,
        height=frame.height,
        keypoints=packed(keypoints),
        staged=None if after.keypoints is keypoints else packed(after.keypoints),
        keypoints_ns=after.time_ns,
        values=values,
        doubts=doubts,
    )
