"""When a trigger fires: a state machine of the times and truths that it is given, and of nothing else.

    waiting ──true──► holding ──for hold_ms──► active ──over──► releasing ──for release_ms──► waiting
       ▲                 │                        ▲                 │                      (refractory for a while)
       └──not true, or───┘                        └──true again─────┘
          unreliable

It is active also where its commands are not given, since the rise was suppressed: one report a rise, none a pose. Two
clocks: ``hold_ms``, ``release_ms``, ``bridge_ms`` and ``max_gap_ms`` are about the animal, and measured by the times at
which frames were captured. ``refractory_ms``, the limits, the time windows and ``every_ms`` are about what is done to
it, and measured by the times at which it was decided.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from poseloop_server.loop.decision import Edge
from poseloop_server.loop.trigger_config import TriggerRules

MINUTE_NS: Final = 60_000_000_000

DISARMED: Final = "disarmed"
OUTSIDE: Final = "outside its time windows"
REFRACTORY: Final = "refractory"
SHAM: Final = "sham"
UNRELIABLE: Final = "unreliable"
GAP: Final = "no pose"


class State(StrEnum):
    """Where a trigger stands."""

    WAITING = "waiting"
    HOLDING = "holding"
    ACTIVE = "active"
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An edge that a pose made; as in `poseloop_server.loop.decision.Decision`."""

    edge: Edge
    fired: bool
    reason: str = ""


class TriggerState:
    """The state of one trigger of one stream."""

    def __init__(self, rules: TriggerRules, draws: Random, began_ns: int) -> None:
        """Start waiting.

        Args:
            rules: from the configuration.
            draws: of this trigger alone, as `draws_of` makes them.
            began_ns: when the experiment began, which time windows count from.
        """
        self._rules = rules
        self._draws = draws
        self._began_ns = began_ns
        self.armed = rules.armed
        self.state = State.WAITING
        self.trials = 0
        self._silence = ""  # why nothing is done about the current activity
        self._since_ns = 0  # captured: when holding or releasing began
        self._reliable_ns = 0  # captured: the last pose that could be relied on
        self._captured_ns: int | None = None
        self._told = False  # whether this unreliable episode was reported
        self._refractory_until_ns = began_ns
        self._trials_ns: deque[int] = deque(maxlen=rules.at_most.per_minute or 1)
        self._next_while_ns = 0

    @property
    def rose(self) -> bool:
        """Whether it is active, whatever came of the rise: what counts now is whether the condition is over."""
        return self.state is State.ACTIVE or self.state is State.RELEASING

    @property
    def acting(self) -> bool:
        """Whether its commands were given on the rise, so that those of the fall are owed."""
        return self.rose and not self._silence

    def advance(self, captured_ns: int, decided_ns: int, holds: bool | None, reliable: bool) -> Verdict | None:
        """Take in one pose.

        Args:
            captured_ns: when its frame was taken.
            decided_ns: when it is decided; not before that of the pose before.
            holds: whether the condition is true; once `rose`, whether it is not over; None: unknown.
            reliable: whether the pose may be relied on.

        Returns:
            What happened; None: nothing that anyone need know. The caller, who knows more, explains the reason
            `UNRELIABLE`.
        """
        gap = self._gap(captured_ns)
        if holds is False and reliable and self.state is State.WAITING:  # almost always
            self._reliable_ns, self._told = captured_ns, False
            return None
        usable = reliable and holds is not None
        if usable:
            self._told = False
        if self.rose and (gap or (self._trial_is_on and self._forbidden(decided_ns))):
            return self._fall(decided_ns, gap or self._forbidden(decided_ns))
        broken = self._break_off(decided_ns, gap) if gap else None
        if not usable:
            return self._doubt(captured_ns, decided_ns, holds) or broken
        self._reliable_ns = captured_ns
        verdict = self._true(captured_ns, decided_ns) if holds else self._false(captured_ns, decided_ns)
        return verdict or broken

    def end(self, decided_ns: int, reason: str) -> Verdict | None:
        """Go back to waiting, with a fall where it was active: the stream has ended or paused."""
        self._captured_ns = None
        if self.rose:
            return self._fall(decided_ns, reason)
        self.state = State.WAITING
        return None

    def is_refractory(self, decided_ns: int) -> bool:
        """Whether a rise now would come too early after the last one's fall."""
        return decided_ns < self._refractory_until_ns

    @property
    def _trial_is_on(self) -> bool:
        return self.rose and self._silence in ("", SHAM)

    def _true(self, captured_ns: int, decided_ns: int) -> Verdict | None:
        if self.state is State.WAITING:
            self.state, self._since_ns = State.HOLDING, captured_ns
        if self.state is State.HOLDING:
            return self._rise(decided_ns) if captured_ns - self._since_ns >= self._rules.hold_ns else None
        self.state = State.ACTIVE
        every_ns = self._rules.every_ns
        if self._silence or not every_ns or decided_ns < self._next_while_ns:
            return None
        # Those that fell between two poses are left out: they would come all at once.
        self._next_while_ns += every_ns * (1 + (decided_ns - self._next_while_ns) // every_ns)
        return Verdict(Edge.WHILE, True)

    def _false(self, captured_ns: int, decided_ns: int) -> Verdict | None:
        if self.state is State.HOLDING:
            self.state = State.WAITING
        elif self.state is State.ACTIVE:
            self.state, self._since_ns = State.RELEASING, captured_ns
        if self.state is State.RELEASING and captured_ns - self._since_ns >= self._rules.release_ns:
            return self._fall(decided_ns, "")
        return None

    def _gap(self, captured_ns: int) -> str:
        """Return that poses were missing for too long before this one; "": they were not."""
        before_ns, self._captured_ns = self._captured_ns, captured_ns
        if before_ns is None or captured_ns - before_ns <= self._rules.max_gap_ns:
            return ""
        return f"{GAP} for {(captured_ns - before_ns) // 1_000_000} ms"

    def _doubt(self, captured_ns: int, decided_ns: int, holds: bool | None) -> Verdict | None:
        """Wait for a better pose for as long as is allowed; report what it prevented, once an episode."""
        if self.state is State.WAITING:
            verdict = self._prevented(decided_ns, UNRELIABLE) if holds and not self._told else None
        elif self._rules.bridge_ns and captured_ns - self._reliable_ns <= self._rules.bridge_ns:
            return None
        else:
            verdict = self._break_off(decided_ns, UNRELIABLE)
        self._told = self._told or verdict is not None
        return verdict

    def _break_off(self, decided_ns: int, reason: str) -> Verdict | None:
        """Start over, since nobody knows what the animal did meanwhile."""
        if self.rose:
            return self._fall(decided_ns, reason)
        was_holding = self.state is State.HOLDING
        self.state = State.WAITING
        return self._prevented(decided_ns, reason) if was_holding else None

    def _prevented(self, decided_ns: int, reason: str) -> Verdict | None:
        """Return that there was no rise, unless there would have been none anyway."""
        return None if self._refusal(decided_ns) else Verdict(Edge.RISE, False, reason)

    def _rise(self, decided_ns: int) -> Verdict:
        reason = self._refusal(decided_ns)
        if not reason:
            self.trials += 1
            self._trials_ns.append(decided_ns)
            if self._draws.random() >= self._rules.probability:
                reason = SHAM
        self.state, self._silence = State.ACTIVE, reason
        self._next_while_ns = decided_ns + self._rules.every_ns
        return Verdict(Edge.RISE, not reason, reason)

    def _fall(self, decided_ns: int, reason: str) -> Verdict | None:
        """End the activity; that of a trial is reported, and the refractory time begins."""
        was_trial, silence = self._trial_is_on, self._silence
        self.state, self._silence = State.WAITING, ""
        if not was_trial:
            return None
        self._refractory_until_ns = decided_ns + self._rules.refractory_ns
        return Verdict(Edge.FALL, not silence, silence or reason)

    def _forbidden(self, decided_ns: int) -> str:
        """Return why the trigger may not be active at all now; "": it may."""
        if not self.armed:
            return DISARMED
        windows = self._rules.between
        if windows and not any(window.holds(decided_ns - self._began_ns) for window in windows):
            return OUTSIDE
        return ""

    def _refusal(self, decided_ns: int) -> str:
        """Return why a rise now would be suppressed; "": it would not, but for the chance."""
        if reason := self._forbidden(decided_ns):
            return reason
        if self.is_refractory(decided_ns):
            return REFRACTORY
        limits = self._rules.at_most
        if limits.in_all is not None and self.trials >= limits.in_all:
            return f"at most {limits.in_all} in all"
        recent = self._trials_ns
        if limits.per_minute and len(recent) == limits.per_minute and decided_ns - recent[0] < MINUTE_NS:
            return f"at most {limits.per_minute} per minute"
        return ""


def draws_of(seed: int, stream: str, trigger: str) -> Random:
    """Return the chances of one trigger of one stream, which no other trigger's draws change."""
    key = "\0".join((str(seed), stream, trigger)).encode()
    return Random(int.from_bytes(hashlib.sha256(key).digest()))
