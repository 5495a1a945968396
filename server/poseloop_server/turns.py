"""Whose turn it is: higher priorities first, and within one priority whoever has waited longest."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Those who wait for a turn; used by one thread.

    Each stands in it once at most, which its caller sees to, and at the end of its priority's line after its turn. So
    nobody waits longer than one turn of everyone else of its priority and of those above it.
    """

    def __init__(self) -> None:
        self._lines: dict[int, deque[T]] = {}  # by priority, the highest first; one that is empty stays
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, priority: int, one: T) -> None:
        """Put one at the end of its priority's line."""
        line = self._lines.get(priority)
        if line is None:
            line = deque()
            self._lines = dict(sorted([*self._lines.items(), (priority, line)], reverse=True))
        line.append(one)
        self._count += 1

    def next(self) -> T:
        """Take out whose turn it is.

        Raises:
            LookupError: nobody waits.
        """
        for line in self._lines.values():
            if line:
                self._count -= 1
                return line.popleft()
        raise LookupError("nobody waits for a turn")

    def peers(self, priority: int) -> list[T]:
        """Return those of one priority, in the order of their turns."""
        return list(self._lines.get(priority, ()))

    def remove(self, priority: int, one: T) -> None:
        """Take one out before its turn."""
        self._lines[priority].remove(one)
        self._count -= 1
