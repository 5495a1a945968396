"""A trigger told from its whole past at every pose: slow, and without a state that could be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from poseloop_server.loop.decision import Edge
from poseloop_server.loop.trigger import Verdict
from poseloop_server.loop.trigger_config import TriggerRules

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Seen:
    """A pose as a trigger sees it; ``over``: whether what is active would be over."""

    captured_ns: int
    decided_ns: int
    when: bool | None
    over: bool | None
    reliable: bool


@dataclass
class SlowTrigger:
    rules: TriggerRules
    draws: Sequence[float]
    began_ns: int
    armed: bool
    past: list[Seen] = field(default_factory=list)
    asked: list[bool | None] = field(default_factory=list)  # by pose: `over` where it was active, else `when`
    ends: list[int] = field(default_factory=list)  # indices of the first poses after an end
    rises: list[tuple[int, str]] = field(default_factory=list)  # index of the pose, why it was suppressed
    falls: list[tuple[int, int, bool]] = field(default_factory=list)  # index, when it was decided, whether of a trial
    trials_ns: list[int] = field(default_factory=list)
    whiles_ns: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)  # indices of poses whose doubt was reported

    def is_active(self) -> bool:
        return len(self.rises) > len(self.falls)

    def take(self, seen: Seen) -> Verdict | None:
        self.past.append(seen)
        self.asked.append(seen.over if self.is_active() else seen.when)
        return self.while_active(len(self.past) - 1) if self.is_active() else self.while_not(len(self.past) - 1)

    def end(self, decided_ns: int, reason: str) -> Verdict | None:
        self.ends.append(len(self.past))
        return self.fall(len(self.past) - 1, decided_ns, reason) if self.is_active() else None

    # What a pose makes of it.

    def while_active(self, n: int) -> Verdict | None:
        now = self.past[n].decided_ns
        risen_ns, silence = self.past[self.rises[-1][0]].decided_ns, self.rises[-1][1]
        if self.gap(n):
            return self.fall(n, now, self.gap(n))
        if silence in ("", "sham") and self.forbidden(now):
            return self.fall(n, now, self.forbidden(now))
        if not self.sure(n):
            return None if self.bridged(n) else self.fall(n, now, "unreliable")
        if self.past[n].over:
            over_ns = now_ns = self.past[n].captured_ns
            over_ns = self.past[self.run_start(n, self.rises[-1][0] + 1)].captured_ns
            return self.fall(n, now, "") if now_ns - over_ns >= self.rules.release_ms * 1e6 else None
        every_ns = self.rules.while_true.every_ms * 1e6 if self.rules.while_true else float("inf")
        last_ns = max([risen_ns, *self.whiles_ns])
        if silence or (now - risen_ns) // every_ns <= (last_ns - risen_ns) // every_ns:
            return None
        self.whiles_ns.append(now)
        return Verdict(Edge.WHILE, True)

    def while_not(self, n: int) -> Verdict | None:
        now, held = self.past[n].decided_ns, self.holding_since(n - 1)
        if not self.sure(n):
            if held is not None and not self.gap(n):
                return None if self.bridged(n) else self.prevented(n, "unreliable")
            report = self.prevented(n, "unreliable") if self.past[n].when and not self.told_already(n) else None
            gap = self.prevented(n, self.gap(n)) if held is not None and self.gap(n) else None
            return report or gap
        since = self.holding_since(n)
        if since is not None and self.past[n].captured_ns - self.past[since].captured_ns >= self.rules.hold_ms * 1e6:
            return self.rise(n, now)
        return self.prevented(n, self.gap(n)) if held is not None and self.gap(n) else None

    def rise(self, n: int, now: int) -> Verdict:
        reason = self.refusal(now)
        if not reason:
            reason = "" if self.draws[len(self.trials_ns)] < self.rules.probability else "sham"
            self.trials_ns.append(now)
        self.rises.append((n, reason))
        return Verdict(Edge.RISE, not reason, reason)

    def fall(self, n: int, now: int, reason: str) -> Verdict | None:
        silence = self.rises[-1][1]
        self.falls.append((n, now, silence in ("", "sham")))
        if reason == "unreliable" and silence in ("", "sham"):
            self.told.append(n)
        return Verdict(Edge.FALL, not silence, silence or reason) if silence in ("", "sham") else None

    def prevented(self, n: int, reason: str) -> Verdict | None:
        if self.refusal(self.past[n].decided_ns):
            return None
        if reason == "unreliable":
            self.told.append(n)
        return Verdict(Edge.RISE, False, reason)

    # What was.

    def sure(self, n: int) -> bool:
        return self.past[n].reliable and self.asked[n] is not None

    def bridged(self, n: int) -> bool:
        before = [self.past[m].captured_ns for m in range(n) if self.sure(m)]
        return bool(before) and 0 < self.rules.bridge_ms * 1e6 >= self.past[n].captured_ns - before[-1]

    def gap(self, n: int) -> str:
        if n == 0 or n in self.ends:
            return ""
        gap_ns = self.past[n].captured_ns - self.past[n - 1].captured_ns
        return f"no pose for {gap_ns // 1_000_000} ms" if gap_ns > self.rules.max_gap_ms * 1e6 else ""

    def run_start(self, n: int, first: int) -> int | None:
        """The first of the poses up to n at which what was asked was true, with nothing but bridges between."""
        start = None
        for m in range(n, first - 1, -1):
            if self.sure(m) and self.asked[m]:
                start = m
            elif self.sure(m) or not self.bridged(m):
                break
            if self.gap(m):
                break
        return start

    def holding_since(self, n: int) -> int | None:
        return self.run_start(n, max([0, *self.ends, *(index + 1 for index, _, _ in self.falls)]))

    def told_already(self, n: int) -> bool:
        return any(not any(self.sure(m) for m in range(told, n)) for told in self.told)

    def forbidden(self, now: int) -> str:
        if not self.armed:
            return "disarmed"
        since_s = (now - self.began_ns) / 1e9
        inside = [w.from_s <= since_s and (w.to_s is None or since_s < w.to_s) for w in self.rules.between]
        return "outside its time windows" if inside and not any(inside) else ""

    def refusal(self, now: int) -> str:
        if self.forbidden(now):
            return self.forbidden(now)
        if any(now - at < self.rules.refractory_ms * 1e6 for _, at, is_trial in self.falls if is_trial):
            return "refractory"
        limits = self.rules.at_most
        if limits.in_all is not None and len(self.trials_ns) >= limits.in_all:
            return f"at most {limits.in_all} in all"
        recent = [at for at in self.trials_ns if now - at < MINUTE_NS]
        if limits.per_minute is not None and len(recent) >= limits.per_minute:
            return f"at most {limits.per_minute} per minute"
        return ""
