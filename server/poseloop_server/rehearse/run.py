"""Runs rules on a recording and notes what they decide; commands count as sent when they are decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError

from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.decision import Arming, Decision
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.trigger import SHAM
from poseloop_server.rehearse.recording import Item, Pause, RecordedPose, Recording, Reopened

ENDED = "the recording ended"


@dataclass(frozen=True, slots=True)
class Event:
    """What one trigger decided; times are nanoseconds since the recording began.

    Attributes:
        frame: whose pose was the cause, or the last one before it.
        captured_ns: when that frame was taken.
        decided_ns: when it was decided, and its commands count as sent.
        decision: as live.
    """

    frame: int
    captured_ns: int
    decided_ns: int
    decision: Decision

    @property
    def is_trial(self) -> bool:
        """Whether commands were given, or would have been, but for the chance."""
        return self.decision.fired or self.decision.reason == SHAM

    @property
    def outcome(self) -> str:
        """What came of it, for people: ``fired``, ``sham``, or why not."""
        decision = self.decision
        if not decision.fired:
            return decision.reason
        return f"fired ({decision.reason})" if decision.reason else "fired"


class Rehearsal:
    """One configuration's rules for one stream, at work on a recording.

    Args:
        config: of the experiment.
        stream: its name.
        recording: whose poses it will be given.

    Attributes:
        config: as given.
        stream: as given.
        keypoints: names, in the order of their axis.
        triggers: their names, in the order of the configuration.
        events: decided so far.
        problems: that stages had, in one sentence each.

    Raises:
        InvalidInputError: the configuration does not fit the keypoints, has nothing for the stream, or has a stage that
            looks at images where there are none.
    """

    def __init__(self, config: LoopConfig, stream: str, recording: Recording) -> None:
        self.config = config
        self.stream = stream
        self.events: list[Event] = []
        self.problems: list[str] = []
        self.keypoints = recording.keypoints
        self._loop = StreamLoop(config, stream, recording.keypoints, began_ns=0, problem=self.problems.append)
        self.triggers = tuple(one.name for one in self._loop.status())
        if self._loop.needs_image and not recording.has_images:
            raise InvalidInputError(
                f"{config.source.where((*config.stream_path(stream), 'stages'))}a stage looks at the pixels, and "
                f"{recording.description} has poses only; rehearse the video itself, without a crop"
            )
        self._last = (0, 0, 0)

    def take(self, item: Item) -> LoopPose | None:
        """Go on with the next item of the recording; return the pose after the stages, where it is one."""
        match item:
            case RecordedPose():
                return self._decide(item)
            case Arming():
                if not item.trigger or item.trigger in self.triggers:
                    self._loop.arm(item.trigger or None, item.armed)
            case Pause():
                self._end(item.reason, item.decided_ns)
            case Reopened():
                self._loop.reset()
        return None

    def finish(self) -> None:
        """End what is still active, and let stages save what they have."""
        self._end(ENDED, self._last[2])
        self._loop.close()

    @property
    def stage_failures(self) -> dict[str, int]:
        """How many poses each kind of stage failed on."""
        return dict(self._loop.stage_failures)

    def _decide(self, item: RecordedPose) -> LoopPose:
        pose = LoopPose(
            stream=self.stream,
            sequence=item.frame,
            captured_ns=item.captured_ns,
            decided_ns=item.decided_ns if item.inferred_ns is None else item.inferred_ns,
            time_ns=item.captured_ns,
            width=item.width,
            height=item.height,
            names=self.keypoints,
            keypoints=item.keypoints,
            values=dict(item.values),
            image=item.image,
            doubts=list(item.doubts),
        )
        step = self._loop.process(pose, item.decided_ns)
        self._last = (item.frame, item.captured_ns, item.decided_ns)
        self.events += [Event(*self._last, decision) for decision in step.decisions]
        return step.pose

    def _end(self, reason: str, decided_ns: int) -> None:
        ending = self._loop.end(reason, decided_ns)
        frame, captured_ns, _ = self._last
        self.events += [Event(frame, captured_ns, ending.decided_ns, decision) for decision in ending.decisions]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run went.

    Attributes:
        poses: that were decided at.
        seconds: that it took.
        recorded_s: from the first frame to the last one.
        interrupted: stopped before the end of the recording.
    """

    poses: int
    seconds: float
    recorded_s: float
    interrupted: bool

    @property
    def speed(self) -> float:
        """How many times faster than the animal."""
        return self.recorded_s / max(self.seconds, 1e-9)


Watch = Callable[[RecordedPose, LoopPose, Sequence[Event]], None]
"""Sees a recorded pose, how it left the stages, and what was decided at it."""


def run(
    rehearsals: Sequence[Rehearsal],
    recording: Recording,
    *,
    on_pose: Callable[[int], None] = lambda _: None,
    watch: Watch = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Run rehearsals side by side on one recording.

    Args:
        rehearsals: made for it; none sees what another does.
        recording: gone through once.
        on_pose: called with the number of poses so far, after each.
        watch: called after each with what became of it in the first rehearsal.
        stop: asked before each pose; once it says yes, the run ends with what it has.

    Raises:
        InvalidInputError: the recording can't be read to its end.
        ModelFailedError: the model of a video failed on a frame.
    """
    started_ns, poses, interrupted = now_ns(), 0, False
    first_ns: int | None = None
    last_ns = 0
    for item in recording:
        if stop():
            interrupted = True
            break
        known = len(rehearsals[0].events)
        pose, *_ = [rehearsal.take(item) for rehearsal in rehearsals]
        if isinstance(item, RecordedPose) and pose is not None:
            watch(item, pose, rehearsals[0].events[known:])
            poses += 1
            last_ns = item.captured_ns
            first_ns = last_ns if first_ns is None else first_ns
            on_pose(poses)
    for rehearsal in rehearsals:
        rehearsal.finish()
    return RunResult(poses, (now_ns() - started_ns) / 1e9, (last_ns - (first_ns or 0)) / 1e9, interrupted)
