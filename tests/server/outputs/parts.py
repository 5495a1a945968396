"""What the tests of outputs share: commands, poses, outcomes as they come, and traffic that does not stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from poseloop.clock import now_ns
from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.account import PoseFate
from poseloop_server.outputs.base import ActionConfig, Command, Outcome, Output, OutputServices, Status
from poseloop_server.outputs.runner import OutputRunner

WITHIN_S = 20.0


class NoSink:
    """Takes what nobody wants."""

    def publish(self, topic: bytes, payload: bytes) -> None:
        pass

    def close(self) -> None:
        pass


SERVICES = OutputServices(NoSink(), "server")


def command(action: ActionConfig | None = None, number: int = 1, **changed: Any) -> Command:
    now = now_ns()
    values: dict[str, Any] = {
        "number": number,
        "output": "out",
        "action": action or ActionConfig(),
        "stream": "cam1",
        "trigger": "in_corner",
        "sequence": 41,
        "captured_ns": now - 9_000_000,
        "decided_ns": now,
        "edge": "rise",
        "values": {"speed(snout)": 31.5},
    }
    return Command(**{**values, **changed})


def pose(sequence: int = 41, animals: int = 1, **changed: Any) -> LoopPose:
    now = now_ns()
    names = ("snout", "tail")
    keypoints = np.arange(animals * len(names) * 3, dtype=np.float32).reshape(animals, len(names), 3)
    keypoints[..., 2] = 0.9
    values: dict[str, Any] = {
        "stream": "cam1",
        "sequence": sequence,
        "captured_ns": now - 9_000_000,
        "decided_ns": now,
        "time_ns": now - 9_000_000,
        "width": 320,
        "height": 240,
        "names": names,
        "keypoints": keypoints,
    }
    return LoopPose(**{**values, **changed})


class Outcomes:
    """Collects what is reported, and waits for it."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []
        self._changed = threading.Condition()

    def __call__(self, outcome: Outcome) -> None:
        with self._changed:
            self.all.append(outcome)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[Outcome]], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.all), WITHIN_S), self.all[-3:]

    def wait_for(self, *statuses: Status, more: int = 1) -> Outcome:
        """Wait for so many more outcomes of these statuses; returns the last."""
        wanted = self.count(*statuses) + more
        self.wait(lambda _: self.count(*statuses) >= wanted)
        return [outcome for outcome in self.all if outcome.status in statuses][-1]

    def of(self, number: int) -> Outcome:
        """Wait for a command's outcome and return it."""
        self.wait(lambda all_: any(outcome.command.number == number for outcome in all_))
        return next(outcome for outcome in self.all if outcome.command.number == number)

    def count(self, *statuses: Status) -> int:
        return sum(outcome.status in statuses for outcome in self.all)


def eventually(condition: Callable[[], object]) -> None:
    """Wait until it is true."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.002)


def run(output: Output, config: Any, outcomes: Outcomes) -> OutputRunner:
    """Start a runner of an output."""
    runner = OutputRunner("out", output, outcomes, config)
    runner.start()
    return runner


def try_until_acknowledged(runner: OutputRunner, outcomes: Outcomes, action: ActionConfig) -> None:
    """Submit a command now and then until one is done again."""
    before = outcomes.count(Status.ACKNOWLEDGED)

    def tried() -> bool:
        number = len(outcomes.all) + 1000
        runner.submit(command(action, number))
        outcomes.of(number)
        return outcomes.count(Status.ACKNOWLEDGED) > before

    eventually(tried)


class Traffic(threading.Thread):
    """Submits a pose and a command every few milliseconds, as a model's thread does."""

    def __init__(self, runner: OutputRunner, action: ActionConfig) -> None:
        super().__init__(daemon=True)
        self._runner = runner
        self._action = action
        self._end = threading.Event()
        self.submitted = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._end.wait(0.004):
                self.submitted += 1
                self._runner.submit_pose(pose(self.submitted))
                self._runner.submit(command(self._action, self.submitted))
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self._end.set()
        self.join()


def survives_unplugging(
    runner: OutputRunner,
    outcomes: Outcomes,
    action: ActionConfig,
    unplug: Callable[[], object],
    plug_in: Callable[[], object],
    *,
    notices: bool = True,
) -> None:
    """Take the other side away and bring it back amid traffic; every command and pose is accounted for.

    ``notices``: whether the output is cut off meanwhile, as by a device, and not only unheard.
    """
    well = (Status.SENT, Status.ACKNOWLEDGED)
    traffic = Traffic(runner, action)
    traffic.start()
    outcomes.wait_for(*well, more=5)
    unplug()
    outcomes.wait_for(Status.DROPPED_GONE, more=5)
    plug_in()
    outcomes.wait_for(*well, more=5)
    traffic.stop()
    runner.close()
    assert traffic.error is None
    assert sorted(outcome.command.number for outcome in outcomes.all) == list(range(1, traffic.submitted + 1))
    account = runner.account()
    assert sum(account.commands.values()) == traffic.submitted
    assert (account.disconnections >= 1) == notices
    assert sum(account.poses.values()) in {0, traffic.submitted}
    assert PoseFate.SENT in account.poses or not account.poses
