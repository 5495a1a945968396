from __future__ import annotations

import threading
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.clock import now_ns
from poseloop.errors import MissingExtraError
from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.account import PoseFate
from poseloop_server.outputs.base import (
    ActionConfig,
    Command,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    OutputUnavailableError,
    Status,
    UnansweredError,
    library,
)
from poseloop_server.outputs.runner import OutputRunner

from tests.server.outputs.parts import SERVICES, WITHIN_S, Outcomes, command, eventually, pose, run, survives_unplugging


class Config(OutputConfig):
    poses: bool = True

    @property
    def takes_poses(self) -> bool:
        return self.poses


class Device(Output):
    """Something that can be held, be gone, refuse and break."""

    config: ClassVar[type[Any]] = Config
    action: ClassVar[type[Any]] = ActionConfig

    def __init__(self, name: str, config: Config, services: OutputServices) -> None:
        self.there = True
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()
        self.raises: Exception | None = None
        self.done: list[int] = []
        self.poses: list[LoopPose] = []
        self.due: int | None = None
        self.ticks = 0
        self.rested = 0

    def open(self) -> None:
        if not self.there:
            raise OutputUnavailableError("The device is not there; plug it in.")

    def execute(self, command: Command) -> Outcome:
        self.busy.set()
        assert self.free.wait(WITHIN_S)
        if not self.there:
            raise OutputUnavailableError("The device is gone; plug it in.")
        if self.raises is not None:
            raise self.raises
        self.done.append(command.number)
        return Outcome(command, Status.SENT, sent_ns=now_ns())

    def send_pose(self, pose: LoopPose) -> None:
        self.busy.set()
        assert self.free.wait(WITHIN_S)
        if not self.there:
            raise OutputUnavailableError("The device is gone; plug it in.")
        self.poses.append(pose)

    def due_ns(self) -> int | None:
        return self.due

    def tick(self) -> None:
        self.ticks += 1
        self.due = None if self.ticks >= 3 else now_ns()
        if self.raises is not None:
            raise self.raises

    def close(self) -> None:
        self.rested += 1


def started(**keys: Any) -> tuple[Device, OutputRunner, Outcomes]:
    config = Config(**{"deadline_ms": 60_000, **keys})
    device, outcomes = Device("out", config, SERVICES), Outcomes()
    return device, run(device, config, outcomes), outcomes


def hold(device: Device, runner: OutputRunner) -> None:
    """Have the device be busy with command 0."""
    device.free.clear()
    device.busy.clear()
    runner.submit(command(number=0))
    assert device.busy.wait(WITHIN_S)


def test_commands_are_done_in_their_order() -> None:
    device, runner, _outcomes = started()
    for number in range(1, 31):
        runner.submit(command(number=number))
    runner.close()
    assert device.done == list(range(1, 31))
    assert runner.account().commands == {Status.SENT: 30}
    assert device.rested == 1


def test_what_exceeds_the_queue_is_dropped_at_once() -> None:
    device, runner, outcomes = started(queue_commands=2)
    hold(device, runner)
    for number in range(1, 5):
        runner.submit(command(number=number))
    assert [(one.command.number, one.status) for one in outcomes.all] == [
        (3, Status.DROPPED_FULL),
        (4, Status.DROPPED_FULL),
    ]
    assert "2 commands waited" in outcomes.all[0].message
    device.free.set()
    runner.close()
    assert device.done == [0, 1, 2]


def test_what_is_late_is_dropped_rather_than_sent() -> None:
    device, runner, outcomes = started(deadline_ms=1000)
    runner.submit(command(number=1, decided_ns=now_ns() - 1_100_000_000))
    runner.submit(command(number=2))
    runner.close()
    assert device.done == [2]
    assert outcomes.of(1).status is Status.DROPPED_LATE
    assert "within 1000 ms" in outcomes.of(1).message


class Off(ActionConfig):
    @property
    def only_ends(self) -> bool:
        return True


def test_what_switches_off_is_sent_late_and_has_room_in_a_full_queue() -> None:
    device, runner, outcomes = started(deadline_ms=1000, queue_commands=1)
    hold(device, runner)
    old = now_ns() - 1_100_000_000
    for number, action in enumerate((None, None, Off(), Off()), 1):
        runner.submit(command(action, number, decided_ns=old))
    device.free.set()
    runner.close()
    assert device.done == [0, 3]
    assert {number: outcomes.of(number).status for number in (1, 2, 3, 4)} == {
        1: Status.DROPPED_LATE,
        2: Status.DROPPED_FULL,
        3: Status.SENT,
        4: Status.DROPPED_FULL,
    }


def test_of_each_stream_the_newest_pose_goes_on() -> None:
    device, runner, _ = started()
    hold(device, runner)
    for sequence in range(1, 6):
        runner.submit_pose(pose(sequence))
        runner.submit_pose(pose(10 * sequence, stream="cam2"))
    device.free.set()
    runner.close()
    assert [(one.stream, one.sequence) for one in device.poses] == [("cam1", 5), ("cam2", 50)]
    assert runner.account().poses == {PoseFate.SENT: 2, PoseFate.PASSED_OVER: 8}


def test_a_pose_goes_on_without_its_image() -> None:
    device, runner, _ = started()
    runner.submit_pose(pose(image=np.zeros((240, 320), np.uint8)))
    runner.close()
    assert device.poses[0].image is None


def test_an_output_without_poses_is_given_none() -> None:
    device, runner, _ = started(poses=False)
    runner.submit_pose(pose())
    runner.close()
    assert not device.poses
    assert not runner.account().poses


def test_what_is_not_there_at_the_start_is_an_error() -> None:
    config = Config()
    device = Device("out", config, SERVICES)
    device.there = False
    runner = OutputRunner("out", device, Outcomes(), config)
    with pytest.raises(OutputUnavailableError, match="plug it in"):
        runner.start()
    assert device.rested == 1
    runner.close()


def test_what_is_optional_may_come_later() -> None:
    config, outcomes = Config(optional=True), Outcomes()
    device = Device("out", config, SERVICES)
    device.there = False
    runner = run(device, config, outcomes)
    runner.submit(command(number=1))
    assert outcomes.all[0].status is Status.DROPPED_GONE
    assert "plug it in" in outcomes.all[0].message
    device.there = True
    eventually(lambda: runner.account().connected)
    runner.submit(command(number=2))
    assert outcomes.of(2).status is Status.SENT
    runner.close()


def test_a_library_that_is_missing_is_an_error_even_where_the_output_is_optional() -> None:
    class Lacking(Device):
        def open(self) -> None:
            library("poseloop_no_such_library", "This output")

    config = Config(optional=True)
    runner = OutputRunner("out", Lacking("out", config, SERVICES), Outcomes(), config)
    with pytest.raises(MissingExtraError, match=r"pip install 'poseloop\[outputs\]'"):
        runner.start()


def test_an_output_comes_back_by_itself() -> None:
    device, runner, outcomes = started()
    survives_unplugging(
        runner,
        outcomes,
        ActionConfig(),
        lambda: setattr(device, "there", False),
        lambda: setattr(device, "there", True),
    )


def test_what_waits_when_the_output_goes_is_dropped() -> None:
    device, runner, outcomes = started()
    hold(device, runner)
    for number in range(1, 4):
        runner.submit(command(number=number))
    device.there = False
    device.free.set()
    for number in range(4):
        assert outcomes.of(number).status is Status.DROPPED_GONE
    runner.close()


def test_what_switches_off_waits_for_the_output_to_come_back_and_is_first_then() -> None:
    device, runner, outcomes = started()
    hold(device, runner)
    runner.submit(command(number=1))
    runner.submit(command(Off(), 2))  # waits when the output goes
    device.there = False
    device.free.set()
    assert outcomes.of(1).status is Status.DROPPED_GONE
    eventually(lambda: not runner.account().connected)
    runner.submit(command(number=3))
    runner.submit(command(Off(), 4, trigger="another"))  # comes while it is away
    runner.submit(command(Off(), 5))  # would do again what is owed
    assert (outcomes.of(3).status, outcomes.of(5).status) == (Status.DROPPED_GONE, Status.DROPPED_GONE)
    device.there = True
    assert outcomes.of(2).status is outcomes.of(4).status is Status.SENT
    runner.submit(command(number=6))
    assert outcomes.of(6).status is Status.SENT
    assert device.done == [2, 4, 6]
    runner.close()


def test_what_is_owed_at_the_end_is_told() -> None:
    device, runner, outcomes = started()
    device.there = False
    runner.submit(command(Off(), 1))
    eventually(lambda: not runner.account().connected)
    runner.submit(command(Off(), 2, trigger="another"))
    runner.close()
    assert [outcomes.of(number).status for number in (1, 2)] == [Status.DROPPED_GONE, Status.DROPPED_GONE]


def test_an_answer_that_does_not_come_is_told_apart_from_a_command_that_was_not_sent() -> None:
    device, runner, outcomes = started()
    device.raises = UnansweredError("It says nothing.", sent_ns=17)
    runner.submit(command(number=1))
    assert outcomes.of(1).status is Status.UNANSWERED
    assert outcomes.of(1).sent_ns == 17
    runner.close()


def test_an_output_that_breaks_goes_on() -> None:
    device, runner, outcomes = started()
    device.raises = ZeroDivisionError("division by zero")
    runner.submit(command(number=1))
    assert outcomes.of(1).status is Status.FAILED
    assert outcomes.of(1).message == "ZeroDivisionError: division by zero"
    device.raises = None
    runner.submit(command(number=2))
    assert outcomes.of(2).status is Status.SENT
    runner.close()


def test_a_report_that_breaks_does_not_end_the_output() -> None:
    reported = []

    def report(outcome: Outcome) -> None:
        reported.append(outcome)
        raise OSError("disk full")

    config = Config()
    device = Device("out", config, SERVICES)
    runner = OutputRunner("out", device, report, config)
    runner.start()
    runner.submit(command(number=1))
    runner.submit(command(number=2))
    runner.close()
    assert len(reported) == 2


def test_an_output_is_called_when_it_wants_to_be() -> None:
    device, runner, _outcomes = started()
    device.due = now_ns()
    runner.submit(command(number=1))  # so that it is asked anew
    eventually(lambda: device.ticks >= 3)
    runner.close()


def test_an_output_whose_own_work_breaks_counts_as_gone() -> None:
    device, runner, _ = started()
    device.raises = None
    device.due = now_ns()
    device.raises = RuntimeError("no")
    runner.submit_pose(pose())
    eventually(lambda: runner.account().disconnections >= 1)
    runner.close()


def test_after_the_end_nothing_is_done_any_more() -> None:
    _device, runner, outcomes = started()
    runner.close()
    runner.submit(command(number=1))
    runner.submit_pose(pose())
    assert outcomes.all[0].status is Status.DROPPED_GONE
    assert outcomes.all[0].message == "the output has ended"
    runner.close()


def test_what_waits_beyond_the_grace_is_dropped() -> None:
    device, runner, outcomes = started()
    hold(device, runner)
    runner.submit(command(number=1))
    closing = threading.Thread(target=runner.close, args=(0.0,))
    closing.start()
    eventually(lambda: not runner.account().connected)
    device.free.set()
    closing.join()
    assert device.done == [0]
    assert outcomes.of(1).status is Status.DROPPED_LATE


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["command", "off", "late", "pose", "gone", "back", "break", "mend"]), max_size=40),
    st.integers(1, 4),
)
def test_every_command_has_exactly_one_outcome(steps: list[str], queue: int) -> None:
    device, runner, outcomes = started(queue_commands=queue)
    submitted = poses = 0
    for step in steps:
        if step in {"command", "off", "late"}:
            submitted += 1
            action = Off() if step == "off" else None
            runner.submit(command(action, submitted, decided_ns=0 if step == "late" else now_ns()))
        elif step == "pose":
            poses += 1
            runner.submit_pose(pose())
        elif step in {"gone", "back"}:
            device.there = step == "back"
        else:
            device.raises = ValueError("broken") if step == "break" else None
    runner.close()
    assert sorted(outcome.command.number for outcome in outcomes.all) == list(range(1, submitted + 1))
    assert sum(runner.account().commands.values()) == submitted
    assert sum(runner.account().poses.values()) == poses
