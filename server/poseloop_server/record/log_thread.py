"""The thread that writes a log: at its own pace, as far as the disk lets it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from poseloop.clock import now_ns

from poseloop_server.record.backlog import Backlog, Item
from poseloop_server.record.encode import decision_lines, line_of, outcome_line, pose_line
from poseloop_server.record.log_file import LogFile

# So few at once that the interpreter's lock is held no longer than for a tenth of a millisecond: poses come first.
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Pace:
    """How a log is written.

    Attributes:
        every_s: how long a pose may wait to be written; decisions and outcomes do not wait.
        sync_every_s: how much a loss of power may cost; the end of the process costs less than ``every_s``.
        retry_s: how long to wait before a full disk is tried again.
        give_up_s: how long `LogWriter.close` goes on trying.
        limit: entries that may wait.
        least_mib: that the disk must have at the start.
    """

    every_s: float = 0.02
    sync_every_s: float = 1.0
    retry_s: float = 0.25
    give_up_s: float = 2.0
    limit: int = 16_384
    least_mib: int = 256


class LogThread:
    """Takes entries out of a backlog and appends them to a file that has its header.

    Args:
        file: to write to, and to close at the end.
        backlog: to take from.
        pace: how it is written.
        on_problem: told in a sentence, on this thread.
    """

    def __init__(self, file: LogFile, backlog: Backlog, pace: Pace, on_problem: Callable[[str], None]) -> None:
        self._file = file
        self._backlog = backlog
        self._pace = pace
        self._on_problem = on_problem
        self._written: Counter[str] = Counter(header=1)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._reason = ""
        self._failing = False
        self._told_lost = 0
        self._synced_ns = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        """The thread's, as `threading` calls it."""
        return self._thread.ident or 0

    def wake(self) -> None:
        """Let what waits be written at once."""
        self._wake.set()

    def close(self, reason: str) -> None:
        """Write what waits and the closing line, and close the file; nothing is done the second time."""
        if self._closing.is_set():
            return
        self._reason = reason
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        self._sync()
        while not self._closing.is_set():
            self._wake.wait(self._pace.every_s)
            self._wake.clear()
            self._write_all()
            if self._failing:
                self._closing.wait(self._pace.retry_s)
            elif now_ns() - self._synced_ns >= self._pace.sync_every_s * 1e9:
                self._sync()
        self._finish()

    def _write_all(self) -> None:
        """Write what waits, until nothing does or the disk refuses."""
        try:
            if self._file.behind:
                self._file.append(b"")
            while items := self._backlog.take(_AT_ONCE):
                self._file.append(b"".join(self._encoded(item) for item in items))
        except OSError as error:
            self._fail(error)
            return
        self._tell_lost()
        if self._failing:
            self._failing = False
            self._on_problem(f"the log {self._file.path} can be written again")

    def _encoded(self, item: Item) -> bytes:
        try:
            lines = _lines_of(item)
        except Exception as error:  # an action or a value of someone's own that can't be shown must not end the log
            self._backlog.count_lost(item)
            self._on_problem(f"a {item.kind} can't be written to the log: {error!r}")
            return b""
        self._written.update(item.lines())
        return lines

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._on_problem(
                f"the log {self._file.path} can't be written: {error.strerror}; {self._pace.limit} entries can wait, "
                "more are lost; make room on its disk"
            )

    def _tell_lost(self) -> None:
        lost = self._backlog.lost
        if lost > self._told_lost:
            self._on_problem(
                f"{lost - self._told_lost} entries are missing in the log {self._file.path}: it could not keep up"
            )
            self._told_lost = lost

    def _sync(self) -> None:
        self._synced_ns = now_ns()
        try:
            self._file.sync()
        except OSError as error:
            self._fail(error)

    def _finish(self) -> None:
        until_ns = now_ns() + round(self._pace.give_up_s * 1e9)
        self._write_all()
        while self._failing and now_ns() < until_ns:
            time.sleep(self._pace.retry_s)
            self._write_all()
        self._backlog.say_what_is_missing()
        if not self._failing:
            self._write_all()
        if self._failing:
            left = len(self._backlog)
            self._on_problem(f"the log {self._file.path} ends without its last {left} entries, since its disk is full")
        else:
            self._write_closing_line()
        self._file.close()

    def _write_closing_line(self) -> None:
        line = line_of(
            "closed",
            time_ns=now_ns(),
            utc=datetime.now(UTC).isoformat(),
            reason=self._reason,
            lines=dict(self._written),
            lost=self._backlog.lost,
        )
        try:
            self._file.append(line)
            self._file.sync()
        except OSError as error:
            self._fail(error)


def _lines_of(item: Item) -> bytes:
    """Return an item's lines: its own, and those of what was decided at it."""
    match item.kind:
        case "pose":
            pose, decisions = item.content
            lines = pose_line(pose, len(decisions))
            if decisions:
                lines += decision_lines(pose.stream, pose.sequence, pose.decided_ns, decisions)
            return lines
        case "armed" | "ended":
            fields, decisions = item.content
            if decisions:
                fields = {**fields, "decisions": len(decisions)}
            return line_of(item.kind, **fields) + decision_lines(fields["stream"], None, fields["time_ns"], decisions)
        case "outcome":
            return outcome_line(item.content)
    return line_of(item.kind, **item.content)
