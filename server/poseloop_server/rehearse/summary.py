"""What came of a rehearsal, trigger by trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from poseloop_server.loop.decision import Edge
from poseloop_server.loop.trigger import SHAM
from poseloop_server.rehearse.run import Event, Rehearsal


@dataclass(slots=True)
class TriggerSummary:
    """What one trigger did.

    Attributes:
        trigger: its name.
        fired: rises whose commands were given.
        sham: rises whose commands the chance held back.
        suppressed: other rises whose commands were not given, by reason; what was unreliable is one reason.
        repeats: commands given while the condition went on being true.
        active_s: from the fired rises to their falls, all of them together.
        commands: given, by output; all count as sent.
    """

    trigger: str
    fired: int = 0
    sham: int = 0
    suppressed: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    active_s: float = 0.0
    commands: dict[str, int] = field(default_factory=dict)


def summaries(rehearsal: Rehearsal) -> list[TriggerSummary]:
    """Return the summary of each trigger, in the order of the configuration."""
    return [
        _summary(name, [one for one in rehearsal.events if one.decision.trigger == name]) for name in rehearsal.triggers
    ]


def _summary(name: str, events: Sequence[Event]) -> TriggerSummary:
    summary = TriggerSummary(name)
    rose_ns: int | None = None
    for event in events:
        decision = event.decision
        for command in decision.commands:
            _count(summary.commands, command.output)
        if decision.edge is Edge.RISE:
            rose_ns = event.decided_ns if decision.fired else None
            if decision.fired:
                summary.fired += 1
            elif decision.reason == SHAM:
                summary.sham += 1
            else:
                _count(summary.suppressed, decision.reason.partition(":")[0])
        elif decision.edge is Edge.WHILE:
            summary.repeats += 1
        elif rose_ns is not None:
            summary.active_s += (event.decided_ns - rose_ns) / 1e9
            rose_ns = None
    return summary


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
