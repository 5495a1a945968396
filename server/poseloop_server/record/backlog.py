"""What waits to be written: bounded, and counting what it had no room for."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any, NamedTuple

from poseloop.clock import now_ns


class Item(NamedTuple):
    """One entry of the log on its way: all its lines are written, or none.

    Attributes:
        kind: of the entry, as in its line.
        stream: that a replay lacks something of where this is lost; "": nothing.
        content: what its line is made of.
        decisions: how many lines of decisions follow its own, of which it is the cause.
    """

    kind: str
    stream: str
    content: Any
    decisions: int = 0

    def lines(self) -> dict[str, int]:
        """Return how many lines of each kind it is."""
        return {self.kind: 1, "decision": self.decisions} if self.decisions else {self.kind: 1}


class Backlog:
    """Any thread puts in and never waits; one takes out.

    Once an item had no room, others are let in only when half of it is free again, and before them one that says what
    is missing: the gap stands in the log where it was.

    Args:
        limit: of items.

    Attributes:
        lost: how many lines are missing, those of decisions included.
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[Item] = deque()
        self._limit = limit
        self._lock = threading.Lock()
        self._losing = False
        self._counts: Counter[str] = Counter()
        self._streams: dict[str, None] = {}
        self._from_ns = 0
        self._to_ns = 0
        self.lost = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Add an item; return whether there was room. A few threads at once may exceed the limit by their number."""
        if not self._losing and len(self._items) < self._limit:
            self._items.append(item)
            return True
        return self._put_while_losing(item)

    def take(self, most: int) -> list[Item]:
        """Return the oldest items and forget them."""
        taken: list[Item] = []
        while self._items and len(taken) < most:
            taken.append(self._items.popleft())
        return taken

    def count_lost(self, item: Item) -> None:
        """Count an item that was taken and could not be written."""
        with self._lock:
            self._count(item)

    def say_what_is_missing(self) -> None:
        """Add what is missing as an item, if anything is, whether there is room or not."""
        with self._lock:
            self._say()

    def _put_while_losing(self, item: Item) -> bool:
        with self._lock:
            if len(self._items) >= (self._limit // 2 if self._losing else self._limit):
                self._count(item)
                return False
            self._say()
            self._items.append(item)
            return True

    def _count(self, item: Item) -> None:
        self._to_ns = now_ns()
        if not self._losing:
            self._losing, self._from_ns = True, self._to_ns
        for kind, lines in item.lines().items():
            self._counts[kind] += lines
            self.lost += lines
        if item.stream:
            self._streams[item.stream] = None

    def _say(self) -> None:
        if not self._losing:
            return
        fields = {"from_ns": self._from_ns, "to_ns": self._to_ns}
        self._items.append(Item("lost", "", {**fields, "entries": dict(self._counts), "streams": list(self._streams)}))
        self._losing = False
        self._counts.clear()
        self._streams.clear()
