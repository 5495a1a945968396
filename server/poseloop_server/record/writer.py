"""Keeps the log of an experiment while it runs, and never lets a pose wait for the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from poseloop.types import Counters

from poseloop_server.loop.decision import Decision
from poseloop_server.outputs.base import Outcome
from poseloop_server.record.backlog import Backlog, Item
from poseloop_server.record.encode import PoseRecord, line_of
from poseloop_server.record.entries import CodeFile
from poseloop_server.record.header import Experiment, Start
from poseloop_server.record.log_file import create_log, require_space
from poseloop_server.record.log_thread import LogThread, Pace

_log: Final = logging.getLogger(__name__)


class LogWriter:
    """The log of one experiment: a file of its own, and a thread that writes to it.

    Every method but `close` may be called by any thread and only puts something into a bounded queue. What is said of
    one stream has to be said in the order in which its loop was told it: a replay goes by that.

    Args:
        experiment: what the header says.
        folder: for the file, whose name is made of the experiment's and the time.
        on_problem: called on the writer's thread with a sentence when entries are lost, or the disk fails.
        pace: how it is written.
        start: when the experiment began; None: now.

    Raises:
        InvalidInputError: the file can't be made, or its disk is almost full.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        on_problem: Callable[[str], None] = _log.warning,
        pace: Pace | None = None,
        start: Start | None = None,
    ) -> None:
        pace = pace or Pace()
        self.start = start or Start.now()
        header = experiment.header(self.start)
        require_space(folder, pace.least_mib)
        file = create_log(folder, experiment.name, self.start.utc)
        try:
            file.append(line_of("header", **header))
        except OSError as error:
            file.close()
            raise InvalidInputError(f"the log {file.path} can't be written: {error.strerror}; make room") from None
        self._path = file.path
        self._backlog = Backlog(pace.limit)
        self._thread = LogThread(file, self._backlog, pace, on_problem)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def lost(self) -> int:
        """How many entries are not in the log, and never will be."""
        return self._backlog.lost

    def stream_opened(
        self,
        stream: str,
        model: str,
        model_sha256: str,
        keypoints: Sequence[str],
        continues: bool = False,
        files: Sequence[CodeFile] = (),
    ) -> None:
        """Say that a stream was opened.

        Args:
            stream: its name.
            model: that makes its poses.
            model_sha256: of the model's file.
            keypoints: names, in the order of their axis.
            continues: whether its loop is that of an earlier stream of this name, with what that knows.
            files: of its own stages, as far as the header lacks them.
        """
        self._say(
            "stream_opened",
            stream,
            model=model,
            model_sha256=model_sha256,
            keypoints=list(keypoints),
            continues=continues,
            files=[each.model_dump() for each in files],
        )

    def model_swapped(self, stream: str, model: str, model_sha256: str) -> None:
        """Say that another version of the model makes the stream's poses from here on."""
        self._say("model_swapped", stream, model=model, model_sha256=model_sha256)

    def stream_closed(
        self,
        stream: str,
        reason: str = "",
        counters: Counters | None = None,
        clock_uncertainty_ns: int = 0,
        stage_failures: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Say that a stream was closed, with the sums of its account."""
        self._say(
            "stream_closed",
            stream,
            reason=reason,
            counters=asdict(counters) if counters else {},
            clock_uncertainty_ns=clock_uncertainty_ns,
            stage_failures=dict(stage_failures),
        )

    def pose(self, pose: PoseRecord, decisions: tuple[Decision, ...] = ()) -> None:
        """Log a pose and what was decided at it, once it is published; some microseconds on the model's thread."""
        self._backlog.put(Item("pose", pose.stream, (pose, decisions), len(decisions)))
        if decisions:
            self._thread.wake()

    def missed_pose(self, stream: str) -> None:
        """Say that a pose of a stream will not be in the log, so that a replay does not go on without it."""
        self._backlog.count_lost(Item("pose", stream, None))
        self._thread.wake()

    def armed(self, stream: str, trigger: str, armed: bool, time_ns: int, decisions: tuple[Decision, ...] = ()) -> None:
        """Say that the stream's loop has armed or disarmed a trigger, and what it decided at that."""
        self._cause("armed", stream, decisions, time_ns, trigger=trigger, armed=armed)

    def ended(self, stream: str, reason: str, time_ns: int, decisions: tuple[Decision, ...] = ()) -> None:
        """Say that the stream's loop was told of an end, and what it decided at that."""
        self._cause("ended", stream, decisions, time_ns, reason=reason)

    def outcome(self, outcome: Outcome) -> None:
        """Log what became of a command; fit to be the outputs' `Report`."""
        self._backlog.put(Item("outcome", "", outcome))
        self._thread.wake()

    def account(
        self,
        stream: str,
        counters: Counters,
        clock_uncertainty_ns: int,
        stage_failures: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Log a stream's account, and how many poses each of its stages failed on; once a second is enough."""
        fields = _timed(
            stream=stream,
            counters=asdict(counters),
            clock_uncertainty_ns=clock_uncertainty_ns,
            stage_failures=dict(stage_failures),
        )
        self._put(Item("account", "", fields))

    def problem(self, where: str, message: str) -> None:
        """Log something that a person should know of, such as an output that is gone."""
        self._put(Item("problem", "", _timed(where=where, message=message)))

    def close(self, reason: str = "") -> None:
        """Write what waits and the closing line, and let go of the file; a disk that stays full is given up on.

        Call it once nothing else is going to be said.
        """
        self._thread.close(reason)

    def _say(self, kind: str, stream: str, **fields: Any) -> None:
        self._put(Item(kind, stream, _timed(stream=stream, **fields)))

    def _cause(self, kind: str, stream: str, decisions: tuple[Decision, ...], time_ns: int, **fields: Any) -> None:
        content = ({"time_ns": time_ns, "stream": stream, **fields}, decisions)
        self._put(Item(kind, stream, content, len(decisions)))

    def _put(self, item: Item) -> None:
        self._backlog.put(item)
        self._thread.wake()


def _timed(**fields: Any) -> Mapping[str, Any]:
    return {"time_ns": now_ns(), **fields}
