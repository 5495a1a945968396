"""The thread behind an output: what is common to all kinds, so that none of them can hold a pose up."""

from __future__ import annotations

import logging
import threading

from poseloop.clock import now_ns
from poseloop.errors import PoseloopError

from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.account import Ledger, OutputAccount, PoseFate
from poseloop_server.outputs.backlog import Backlog, Begun, End
from poseloop_server.outputs.base import (
    Command,
    Outcome,
    Output,
    OutputConfig,
    OutputUnavailableError,
    Report,
    Status,
    UnansweredError,
)

_log = logging.getLogger(__name__)
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 2.0
# How long, beyond the grace, a call to the output may take that had begun before.
_LAST_CALL_S = 6.0


class OutputRunner:
    """Runs one output on a thread of its own.

    Commands wait in a bounded queue, and each ends in exactly one `Outcome`, whatever happens. One that can't be sent
    before its deadline is dropped: a stimulus that comes late is worse than none; but what only switches off is sent
    late, lest it stay on. Poses do not queue: of each stream the newest waits. While the other side is gone commands
    and poses are dropped at once, but for what switches off: that waits until the other side is back, and is sent first
    then. Connecting is tried again, at intervals that grow up to 2 s until something was sent.

    Args:
        name: of the output, in the configuration.
        output: what it runs; no one else calls it from `start` on.
        report: takes each command's outcome; it must not wait.
        config: the output's.
    """

    def __init__(self, name: str, output: Output, report: Report, config: OutputConfig) -> None:
        self.name = name
        self._output = output
        self._report = report
        self._config = config
        self._deadline_ns = round(config.deadline_ms * 1e6)
        self._takes_poses = config.takes_poses
        self._has_head_start = type(output).head_start is not Output.head_start
        self._using = threading.Lock()  # held for each call of the output, once it is connected
        self._backlog = Backlog(config.queue_commands, lambda command: output.switches_off(command.action))
        self._ledger = Ledger()
        self._problem = ""
        self._retry_s = _FIRST_RETRY_S
        self._closing = threading.Event()
        self._last_ns = 0
        self._first_try = threading.Event()
        self._refused_start: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    def start(self) -> None:
        """Connect and begin; returns after the first try.

        Raises:
            OutputUnavailableError: the other side is not there, and the output is not optional.
            PoseloopError: it can't ever work, as where its library is not installed.
        """
        self._thread.start()
        self._first_try.wait()
        if self._refused_start is not None:
            self._thread.join()
            raise self._refused_start

    def submit(self, command: Command) -> None:
        """Leave a command to be done; never waits and never raises.

        Where the output can hand it over without waiting, and nothing is before it, that is done here and now, which
        saves the way to another thread. What can't be taken, because the queue is full or the output is not there, is
        reported at once.
        """
        if self._has_head_start and self._backlog.claim(self._using) and self._begin(command):
            return
        dropped = self._backlog.put(command)
        if dropped is not None:
            self._finish(Outcome(command, dropped, message=self._why(dropped)))

    def _begin(self, command: Command) -> bool:
        """Give a command its head start; returns whether it has one, and so is no longer the caller's to leave."""
        try:
            sent_ns = self._output.head_start(command)
            if sent_ns is not None and not self._backlog.put_begun(Begun(command, sent_ns)):
                self._finish(Outcome(command, Status.SENT, sent_ns=sent_ns, message="the output has ended"))
        except Exception as error:  # an output's mistake must not reach the pose
            self._failed(error)
            return False
        finally:
            self._using.release()
        return sent_ns is not None

    def submit_pose(self, pose: LoopPose) -> None:
        """Leave a pose to be passed on, where the output takes poses; never waits. It must not change any more."""
        if not self._takes_poses:
            return
        replaced = self._backlog.put_pose(pose)
        if replaced is None:
            self._ledger.poses(PoseFate.LOST)
        elif replaced:
            self._ledger.poses(PoseFate.PASSED_OVER)

    def end(self, grace_s: float = 1.0) -> None:
        """Begin to end: what waits is done, for so long at most, then the device is left in its resting state."""
        if not self._closing.is_set():
            self._last_ns = now_ns() + round(grace_s * 1e9)
            self._closing.set()
            self._backlog.end()

    def close(self, grace_s: float = 1.0) -> None:
        """End, and wait for it."""
        self.end(grace_s)
        if self._thread.ident is None:
            return
        self._thread.join(grace_s + _LAST_CALL_S)
        if self._thread.is_alive():
            _log.error("output %s does not come back from its last call; its device may not be at rest", self.name)
            self._drop_waiting("the output did not come back from its last call")

    @property
    def takes_poses(self) -> bool:
        """Whether it is to be given poses, beside commands."""
        return self._takes_poses

    def account(self) -> OutputAccount:
        """Return what became of everything so far."""
        return self._ledger.account(connected=self._backlog.is_open, problem=self._problem)

    def _run(self) -> None:
        try:
            if self._open_first():
                self._first_try.set()
                self._serve()
        finally:
            self._backlog.end()  # nothing is owed any more
            self._disconnect("the output has ended")
            self._first_try.set()

    def _open_first(self) -> bool:
        """Try to connect; returns whether the output goes on living."""
        try:
            self._output.open()
        except Exception as error:
            if isinstance(error, OutputUnavailableError) and self._config.optional:
                self._gone(str(error))
                return True
            self._refused_start = error
            return False
        self._backlog.open()
        return True

    def _serve(self) -> None:
        connected = self._backlog.is_open
        while connected or not self._closing.is_set():
            try:
                if connected:
                    if not self._serve_one():
                        return
                else:
                    connected = self._reconnect()
            except OutputUnavailableError as error:
                connected = False
                self._gone(str(error))
            except Exception as error:  # an output's mistake must not end its thread
                self._failed(error)

    def _serve_one(self) -> bool:
        """Do the next thing that there is to do; returns whether there may be more."""
        due_ns = self._output.due_ns()
        item = self._backlog.take(None if due_ns is None else max(0.0, (due_ns - now_ns()) / 1e9))
        try:
            with self._using:
                if isinstance(item, Command | Begun):
                    self._do(item)
                elif isinstance(item, LoopPose):
                    self._pass_on(item)
                if due_ns is not None and now_ns() >= due_ns:
                    self._tick()
        finally:
            self._backlog.done()
        return not isinstance(item, End)

    def _tick(self) -> None:
        try:
            self._output.tick()
        except OutputUnavailableError:
            raise
        except Exception as error:  # it would be due again at once, for ever
            raise OutputUnavailableError(_sentence(error)) from error

    def _do(self, item: Command | Begun) -> None:
        command = item.command if isinstance(item, Begun) else item
        now = now_ns()
        late = now - command.decided_ns > self._deadline_ns and not self._output.switches_off(command.action)
        late = late or (self._closing.is_set() and now > self._last_ns)
        if late and not isinstance(item, Begun):
            self._finish(Outcome(command, Status.DROPPED_LATE, message=self._why(Status.DROPPED_LATE)))
            return
        try:
            if isinstance(item, Begun):
                outcome = self._output.finish(command, item.sent_ns)
            else:
                outcome = self._output.execute(command)
        except UnansweredError as error:
            self._finish(Outcome(command, Status.UNANSWERED, sent_ns=error.sent_ns, message=str(error)))
            raise
        except OutputUnavailableError as error:
            if isinstance(item, Begun) or not self._backlog.owe(item):
                self._finish(_gone(item, str(error)))
            raise
        except Exception as error:
            self._finish(Outcome(command, Status.FAILED, message=_sentence(error)))
            raise
        self._finish(outcome)
        self._works()

    def _pass_on(self, pose: LoopPose) -> None:
        try:
            self._output.send_pose(pose)
        except Exception:
            self._ledger.poses(PoseFate.LOST)
            raise
        self._ledger.poses(PoseFate.SENT)
        self._works()

    def _reconnect(self) -> bool:
        """Wait, try to connect, and return whether it did."""
        if self._closing.wait(self._retry_s):
            return False
        self._retry_s = min(self._retry_s * 2, _LONGEST_RETRY_S)
        try:
            self._output.open()
        except Exception as error:  # whatever an output raises, it is tried again
            self._problem = _sentence(error)
            self._output.close()
            return False
        self._backlog.open()
        return self._backlog.is_open

    def _gone(self, problem: str) -> None:
        if not self._problem:
            _log.warning("output %s: %s", self.name, problem)
        self._problem = problem
        self._ledger.disconnected()
        self._disconnect(problem)

    def _works(self) -> None:
        if self._problem:
            _log.warning("output %s works again", self.name)
            self._problem = ""
        self._retry_s = _FIRST_RETRY_S

    def _failed(self, error: Exception) -> None:
        if not self._problem:
            _log.error("output %s failed: %s", self.name, _sentence(error), exc_info=error)
        self._problem = _sentence(error)

    def _disconnect(self, why: str) -> None:
        self._drop_waiting(why)
        try:
            with self._using:
                self._output.close()
        except Exception:  # closing what is broken may break too
            _log.debug("output %s could not be closed", self.name, exc_info=True)

    def _drop_waiting(self, why: str) -> None:
        commands, poses = self._backlog.shut()
        self._ledger.poses(PoseFate.LOST, poses)
        for item in commands:
            self._finish(_gone(item, why))

    def _finish(self, outcome: Outcome) -> None:
        self._ledger.command(outcome.status)
        try:
            self._report(outcome)
        except Exception:
            _log.exception("the outcome of command %d of output %s was lost", outcome.command.number, self.name)

    def _why(self, status: Status) -> str:
        if status is Status.DROPPED_FULL:
            return f"{self._config.queue_commands} commands waited already"
        if status is Status.DROPPED_LATE:
            return f"it could not be sent within {self._config.deadline_ms:g} ms"
        return "the output has ended" if self._closing.is_set() else self._problem or "the output is not there"


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, PoseloopError) else f"{type(error).__name__}: {error}"


def _gone(item: Command | Begun, why: str) -> Outcome:
    """Return the outcome of a command whose output went away; of one that was handed over nobody knows."""
    if isinstance(item, Begun):
        return Outcome(item.command, Status.UNANSWERED, sent_ns=item.sent_ns, message=why)
    return Outcome(item, Status.DROPPED_GONE, message=why)
