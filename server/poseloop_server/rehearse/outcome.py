"""All that came of a rehearsal, for those that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poseloop_server.rehearse.compare import Pair, compare
from poseloop_server.rehearse.run import Rehearsal, RunResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """One configuration's rehearsal, or two and their comparison.

    Attributes:
        result: how the run went.
        recording: what it ran on, for people.
        remarks: on what the recording lacks, in one sentence each.
        latency_ms: from capture to decision; None: what a log has.
        rehearsals: one, or the two that are compared.
        tolerance_ns: how far apart the same event of two may be.
    """

    result: RunResult
    recording: str
    remarks: Sequence[str]
    latency_ms: float | None
    rehearsals: Sequence[Rehearsal]
    tolerance_ns: int

    @property
    def tolerance_ms(self) -> float:
        """As ``tolerance_ns``."""
        return self.tolerance_ns / 1e6

    def pairs(self) -> list[Pair]:
        """Compare the two."""
        first, second = self.rehearsals
        return compare(first, second, self.tolerance_ns)
