"""One trigger at work: what its condition is at a pose, whether that may be relied on, and what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import cast

from poseloop_server.loop.compiled import CompiledTrigger
from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.loop.language import Expression, Scene
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.registered import ActionEntry
from poseloop_server.loop.trigger import GAP, UNRELIABLE, State, TriggerState, Verdict
from poseloop_server.outputs.base import Command

MISSING = -1.0
"""The confidence of a keypoint that is not there: below all that can be asked for."""


@dataclass(frozen=True, slots=True)
class Look:
    """A pose, as all triggers look at it.

    Attributes:
        pose: after the stages.
        scene: that was updated with it.
        confidences: of the first instance's keypoints; `MISSING` of what is not there.
        age_ns: from the frame's capture to the decision.
    """

    pose: LoopPose
    scene: Scene
    confidences: Sequence[float]
    age_ns: int

    @classmethod
    def at(cls, pose: LoopPose, scene: Scene) -> Look:
        """Look at a pose."""
        # A coordinate that is infinite or NaN less itself is NaN, which equals nothing.
        first = pose.keypoints[0].tolist() if len(pose.keypoints) else [(0.0, 0.0, MISSING)] * len(pose.names)
        confidences = [c if x - x + y - y + c == c else MISSING for x, y, c in first]
        return cls(pose, scene, confidences, pose.decided_ns - pose.captured_ns)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decision is made at; as in `poseloop_server.outputs.base.Command`."""

    stream: str
    sequence: int
    captured_ns: int
    decided_ns: int

    @classmethod
    def of(cls, pose: LoopPose) -> Moment:
        """Return that of a pose."""
        return cls(pose.stream, pose.sequence, pose.captured_ns, pose.decided_ns)


@dataclass(frozen=True, slots=True)
class TriggerStatus:
    """How a trigger stands.

    Attributes:
        name: in the configuration.
        armed: whether it may fire.
        state: of its condition.
        refractory: whether a rise would come too early, as of the last pose.
        fired: rises whose commands were given.
        suppressed: rises whose commands were not given, by the kind of reason.
    """

    name: str
    armed: bool
    state: State
    refractory: bool
    fired: int
    suppressed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition of a trigger.

    Attributes:
        expression: it.
        evaluate: of the expression, which is a truth or unknown.
        rows: of its keypoints in a pose.
        ends: whether it tells when the trigger is over, not when it holds.
    """

    expression: Expression
    evaluate: Callable[[Scene], bool | None]
    rows: tuple[int, ...]
    ends: bool

    @classmethod
    def of(cls, expression: Expression, keypoints: Sequence[str], ends: bool = False) -> _Condition:
        rows = tuple(keypoints.index(name) for name in expression.keypoints)
        return cls(expression, cast(Callable[[Scene], "bool | None"], expression.evaluate), rows, ends)


class LiveTrigger:
    """A trigger of one stream.

    Args:
        compiled: its conditions and its configuration.
        state: that it starts in.
        keypoints: of the stream, in the order of their axis.
        numbers: gives each command of the stream its number.
    """

    def __init__(
        self, compiled: CompiledTrigger, state: TriggerState, keypoints: Sequence[str], numbers: Iterator[int]
    ) -> None:
        self.name = compiled.name
        self.state = state
        self._config = compiled.config
        self._when = _Condition.of(compiled.when, keypoints)
        self._until = self._when if compiled.until is None else _Condition.of(compiled.until, keypoints, ends=True)
        self._least = compiled.config.confidence
        self._max_age_ns = round(compiled.config.max_age_ms * 1e6)
        self._numbers = numbers
        self._fired = 0
        self._suppressed: dict[str, int] = {}

    def look(self, look: Look) -> Decision | None:
        """Return what is decided at a pose; None: nothing."""
        condition = self._until if self.state.rose else self._when
        holds = condition.evaluate(look.scene)
        if condition.ends and holds is not None:
            holds = not holds
        pose, least, confidences = look.pose, self._least, look.confidences
        reliable = not pose.doubts and look.age_ns <= self._max_age_ns
        for row in condition.rows:
            if confidences[row] < least:
                reliable = False
                break
        verdict = self.state.advance(pose.captured_ns, pose.decided_ns, holds, reliable)
        if verdict is None:
            return None
        values = condition.expression.values(look.scene)
        if verdict.reason == UNRELIABLE:
            verdict = replace(verdict, reason=f"{UNRELIABLE}: {self._doubt(look, condition, values)}")
        return self._decision(verdict, Moment.of(pose), values)

    def end(self, moment: Moment, reason: str) -> Decision | None:
        """Return the fall of an active trigger where the stream has ended; None: it was not active."""
        verdict = self.state.end(moment.decided_ns, reason)
        return None if verdict is None else self._decision(verdict, moment, {})

    def status(self, decided_ns: int) -> TriggerStatus:
        """Return how it stands."""
        state = self.state
        refractory = not state.rose and state.is_refractory(decided_ns)
        return TriggerStatus(self.name, state.armed, state.state, refractory, self._fired, dict(self._suppressed))

    def _doubt(self, look: Look, condition: _Condition, values: Mapping[str, float]) -> str:
        """Return why a pose can't be relied on, in words."""
        pose, names, least = look.pose, look.pose.names, self._least
        if pose.doubts:
            return ", ".join(pose.doubts)
        if look.age_ns > self._max_age_ns:
            return f"{look.age_ns / 1e6:.0f} ms old, more than {self._config.max_age_ms:g} ms"
        rows = condition.rows
        missing = [names[row] for row in rows if look.confidences[row] == MISSING]
        if missing:
            return f"{_listed(missing)} missing"
        low = [names[row] for row in rows if look.confidences[row] < least]
        if low:
            return f"{_listed(low)} below {least:g}"
        return f"{_listed([text for text, value in values.items() if isnan(value)])} unknown"

    def _decision(self, verdict: Verdict, moment: Moment, values: Mapping[str, float]) -> Decision:
        if verdict.edge is Edge.RISE:
            self._fired += verdict.fired
            if not verdict.fired:
                kind = next((one for one in (UNRELIABLE, GAP) if verdict.reason.startswith(one)), verdict.reason)
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
        actions = self._actions(verdict.edge) if verdict.fired else ()
        commands = tuple(
            Command(
                number=next(self._numbers),
                output=entry.output,
                action=entry.action,
                stream=moment.stream,
                trigger=self.name,
                sequence=moment.sequence,
                captured_ns=moment.captured_ns,
                decided_ns=moment.decided_ns,
                edge=verdict.edge,
                values=values,
            )
            for entry in actions
        )
        return Decision(self.name, verdict.edge, verdict.fired, verdict.reason, values, commands)

    def _actions(self, edge: Edge) -> tuple[ActionEntry, ...]:
        if edge is Edge.RISE:
            return self._config.on_rise
        if edge is Edge.FALL:
            return self._config.on_fall
        repeat = self._config.while_true
        return () if repeat is None else repeat.do


def _listed(names: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
