"""What came out otherwise when a log was replayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 20
"""Differences that are kept; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that came out otherwise.

    Attributes:
        line: of the log, that says what came out then, or whose cause it is.
        stream: whose it is.
        logged: what came out then.
        replayed: what comes out now.
    """

    line: int
    stream: str
    logged: str
    replayed: str


@dataclass(slots=True)
class ReplayResult:
    """How a replay went.

    Attributes:
        poses: that were decided at again.
        decisions: that the log holds and that were compared.
        different: how many decisions and poses came out otherwise.
        differences: the first `SHOWN` of them.
        not_compared: poses that were not decided at again, since the log lacks something before them, by stream.
        lost: entries that the log says it lacks.
        torn: whether the log's last line is not whole.
        closed: whether the log has a closing line.
        lines: how many lines of each kind were read, but for the header.
    """

    poses: int = 0
    decisions: int = 0
    different: int = 0
    differences: list[Difference] = field(default_factory=list)
    not_compared: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    torn: bool = False
    closed: bool = False
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether everything that could be compared came out as it was."""
        return self.different == 0

    def add(self, line: int, stream: str, logged: str, replayed: str) -> None:
        """Count a difference."""
        self.different += 1
        if len(self.differences) < SHOWN:
            self.differences.append(Difference(line, stream, logged, replayed))
