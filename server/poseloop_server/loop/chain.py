"""The chain of one stream: a pose goes through its stages, is measured, and its triggers decide."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from poseloop.errors import InvalidInputError

from poseloop_server.loop.compiled import compile_stream
from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.config_errors import nearest
from poseloop_server.loop.decision import Arming, Decision, Ending, Step
from poseloop_server.loop.language import Scene
from poseloop_server.loop.live_trigger import LiveTrigger, Look, Moment, TriggerStatus
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.stage_line import StageLine
from poseloop_server.loop.trigger import TriggerState, draws_of

# How long a stage may take over a pose before that is told, and go on with its last one when the server stops.
_HANGING_S = 1.0


class StreamLoop:
    """What is configured for one stream, at work.

    What comes out depends on what goes in and on nothing else: the same poses, arming and ends in the same order give
    the same steps, live and in a replay. `process`, `end` and `reset` are called by one thread at a time, which locks
    see to; `arm` by any thread.

    Args:
        config: of the experiment.
        stream: its name; for one that nothing is configured for, poses pass through.
        keypoints: names, in the order of their axis.
        began_ns: when the experiment began, on the clock of the poses' ``decided_ns``; time windows count from it.
        problem: told in one sentence of what goes wrong, once for each kind.

    Attributes:
        stream: its name.
        needs_image: whether a stage looks at pixels, so that poses need their ``image``.
        seen_values: names of what such stages add, which a replay can't compute and takes from the record.
        sources: files of own stages and their hashes, as the stages tell them.

    Raises:
        InvalidConfigurationError: the configuration does not fit the keypoints.
    """

    def __init__(
        self,
        config: LoopConfig,
        stream: str,
        keypoints: Sequence[str],
        *,
        began_ns: int,
        problem: Callable[[str], None] = lambda _: None,
    ) -> None:
        compiled = compile_stream(config, stream, keypoints)
        numbers = count(1)
        self.stream = stream
        looking = [stage for _, stage in compiled.stages if getattr(stage, "needs_image", False)]
        self.needs_image = bool(looking)
        self.seen_values = tuple(name for stage in looking for name in getattr(stage, "value_names", ()))
        self.sources = tuple(source for _, stage in compiled.stages for source in getattr(stage, "sources", ()))
        self._stages = StageLine(compiled.stages, problem)
        self._scene = Scene(compiled.names)
        self._triggers = tuple(
            LiveTrigger(one, TriggerState(one.config, draws, began_ns), keypoints, numbers)
            for one in compiled.triggers
            for draws in (draws_of(config.seed, stream, one.name),)
        )
        self._by_name = {trigger.name: trigger for trigger in self._triggers}
        self._max_gap_ns = {trigger.name: trigger.config.max_gap_ns for trigger in compiled.triggers}
        self._asked: deque[Arming] = deque()
        self._last = Moment(stream, 0, began_ns, began_ns)
        self._problem = problem
        self._begins_anew = False
        self._staged_ns: int | None = None  # since when the stages have a pose
        self._hanging = ""  # the stage that was told of
        self._staging = threading.Lock()
        self._lock = threading.Lock()

    def process(self, pose: LoopPose, decided_ns: int | None = None) -> Step:
        """Take in the next pose, and return how it goes on and what was decided at it.

        The array of its keypoints is not written to; the pose itself may come back changed.

        Args:
            pose: whose ``decided_ns`` is for the stages.
            decided_ns: for the triggers: when the stages were done; the same, unless given.
        """
        staged = self.stage(pose)
        return self.decide(staged, staged.decided_ns if decided_ns is None else decided_ns)

    def stage(self, pose: LoopPose) -> LoopPose:
        """Do the first half of `process`: the stages. A stage that hangs keeps nobody from `end` and `status`."""
        with self._staging:
            self._staged_ns = pose.decided_ns
            try:
                if self._begins_anew:
                    self._begins_anew = False
                    self._stages.reset()
                    with self._lock:
                        self._scene.reset()
                return self._stages.process(pose)
            finally:
                self._staged_ns = None

    def decide(self, pose: LoopPose, decided_ns: int) -> Step:
        """Do the second half of `process`, with what `stage` returned."""
        pose.decided_ns = decided_ns
        with self._lock:
            arming = self._take_arming() if self._asked else ()
            self._last = Moment.of(pose)
            if not self._triggers:
                return Step(pose, (), arming)
            self._scene.update(pose)
            if self._scene.outside:
                self._tell_of_zones(pose)
            look = Look.at(pose, self._scene)
            decided = [decision for trigger in self._triggers if (decision := trigger.look(look)) is not None]
            return Step(pose, tuple(decided), arming)

    def arm(self, trigger: str | None, armed: bool) -> None:
        """Arm or disarm a trigger, or all of them, from the next pose on.

        Raises:
            InvalidInputError: there is no such trigger.
        """
        if trigger is not None and trigger not in self._by_name:
            raise InvalidInputError(
                f"the stream {self.stream} has no trigger {trigger!r}; {nearest(trigger, self._by_name, 'triggers')}"
            )
        self._asked.append(Arming(trigger or "", armed))

    def end(self, reason: str, time_ns: int) -> Ending:
        """End what is active, and every hold: the stream was closed or has paused, or the server stops.

        Limits and refractory times are kept for when the stream goes on.

        Args:
            reason: that stands in the decisions, such as ``the stream was closed``.
            time_ns: now, on the clock of the poses' ``decided_ns``.
        """
        with self._lock:
            arming = self._take_arming()
            last = self._last
            moment = Moment(self.stream, last.sequence, last.captured_ns, max(time_ns, last.decided_ns))
            ended = [trigger.end(moment, reason) for trigger in self._triggers]
            decisions: tuple[Decision, ...] = tuple(one for one in ended if one is not None)
            return Ending(self.stream, reason, moment.decided_ns, decisions, arming)

    def overdue(self, time_ns: int) -> bool:
        """Whether commands of a fall are owed because no pose has come for longer than a trigger's ``max_gap_ms``.

        Then call `end`: without it a laser would stay on for as long as the camera stands still.
        """
        silent_ns = time_ns - self._last.decided_ns
        return any(trigger.state.acting and silent_ns > self._max_gap_ns[trigger.name] for trigger in self._triggers)

    def tell_if_hanging(self, time_ns: int) -> None:
        """Report a stage that does not come back from a pose, once each time."""
        since_ns, stage = self._staged_ns, self._stages.at
        if since_ns is None or time_ns - since_ns < _HANGING_S * 1e9:
            self._hanging = ""
        elif stage and stage != self._hanging:
            self._hanging = stage
            self._problem(
                f"the stage {stage} has had one pose for more than {_HANGING_S:g} s; until it is done with it no "
                "further one goes on"
            )

    @property
    def is_active(self) -> bool:
        """Whether `end` would have something to end."""
        return any(trigger.state.rose for trigger in self._triggers)

    def reset(self) -> None:
        """Forget what stages and kinematics keep of the poses before: the stream was opened anew.

        That is done at the next pose, by who brings it, since a stage of the user's may take its time over it.
        """
        self._begins_anew = True

    def close(self) -> None:
        """Let stages save what they have collected; no pose comes any more. One that hangs is waited for a while."""
        if self._staging.acquire(timeout=_HANGING_S):
            try:
                self._stages.close()
            finally:
                self._staging.release()

    @property
    def stage_failures(self) -> Mapping[str, int]:
        """How many poses each stage failed on, by its kind, and its place where there are several of a kind."""
        return dict(self._stages.failures)

    def status(self) -> tuple[TriggerStatus, ...]:
        """Return how each trigger stands after the last pose."""
        with self._lock:
            return tuple(trigger.status(self._last.decided_ns) for trigger in self._triggers)

    def _tell_of_zones(self, pose: LoopPose) -> None:
        for zone in self._scene.outside:
            self._problem(
                f"the zone {zone} lies outside its frames of {pose.width}x{pose.height}, so nothing is ever in it; "
                "give its points in pixels of these frames"
            )
        self._scene.outside.clear()

    def _take_arming(self) -> tuple[Arming, ...]:
        taken = []
        while self._asked:
            asked = self._asked.popleft()
            for trigger in (self._by_name[asked.trigger],) if asked.trigger else self._triggers:
                trigger.state.armed = asked.armed
            taken.append(asked)
        return tuple(taken)
