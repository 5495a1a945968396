"""Two rules on the same recording: what both would have done, and what only one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from poseloop_server.loop.decision import Edge
from poseloop_server.rehearse.run import Event, Rehearsal


@dataclass(frozen=True, slots=True)
class Pair:
    """An event of the first rules, the event of the second that is the same, or one of them.

    Attributes:
        trigger: whose events they are, by the name in the first rules where both have it.
        edge: rise or fall.
        first: None: only the second rules have it.
        second: None: only the first rules have it.
    """

    trigger: str
    edge: Edge
    first: Event | None
    second: Event | None

    @property
    def decided_ns(self) -> int:
        """When, by the first that has it."""
        event = self.first or self.second
        assert event is not None, "a pair has one event at least"
        return event.decided_ns

    @property
    def later_ns(self) -> int | None:
        """How much later the second rules decided it; None: one of them did not."""
        return None if self.first is None or self.second is None else self.second.decided_ns - self.first.decided_ns


def compare(first: Rehearsal, second: Rehearsal, tolerance_ns: int) -> list[Pair]:
    """Pair the trials of two rehearsals, in the order of time.

    Trials are rises that fired and their falls, and shams: which of them are shams is drawn by chance, and not what a
    rule is about. Events are paired if they are the same edge of the trigger of the same name, and no further apart
    than the tolerance. Where each has one trigger only, their names do not matter.
    """
    only_ones = len(first.triggers) == len(second.triggers) == 1
    mine = _trials(first, {})
    theirs = _trials(second, dict(zip(second.triggers, first.triggers, strict=True)) if only_ones else {})
    pairs = [
        pair
        for trigger, edge in dict.fromkeys((*mine, *theirs))
        for pair in _paired(trigger, edge, mine.get((trigger, edge), []), theirs.get((trigger, edge), []), tolerance_ns)
    ]
    return sorted(pairs, key=lambda pair: pair.decided_ns)


def _trials(rehearsal: Rehearsal, renamed: Mapping[str, str]) -> dict[tuple[str, Edge], list[Event]]:
    """Return the events that count, in the order of time, by their trigger and edge."""
    trials: dict[tuple[str, Edge], list[Event]] = {}
    for event in rehearsal.events:
        decision = event.decision
        if event.is_trial and decision.edge is not Edge.WHILE:
            trials.setdefault((renamed.get(decision.trigger, decision.trigger), decision.edge), []).append(event)
    return trials


def _paired(
    trigger: str, edge: Edge, first: Sequence[Event], second: Sequence[Event], tolerance_ns: int
) -> Iterator[Pair]:
    """Pair events in the order of time; no other pairing makes more pairs."""
    index, other = 0, 0
    while index < len(first) or other < len(second):
        mine = first[index] if index < len(first) else None
        theirs = second[other] if other < len(second) else None
        if mine is not None and theirs is not None and abs(theirs.decided_ns - mine.decided_ns) <= tolerance_ns:
            yield Pair(trigger, edge, mine, theirs)
            index, other = index + 1, other + 1
        elif theirs is None or (mine is not None and mine.decided_ns < theirs.decided_ns):
            yield Pair(trigger, edge, mine, None)
            index += 1
        else:
            yield Pair(trigger, edge, None, theirs)
            other += 1
