"""A command that the system takes at once is handed over by the thread that decided it, in order, and once."""

from __future__ import annotations

import threading

import pytest
from poseloop.clock import now_ns
from poseloop_server.outputs.base import Command, Outcome, OutputUnavailableError, Status
from poseloop_server.outputs.runner import OutputRunner

from tests.server.outputs.parts import SERVICES, WITHIN_S, Outcomes, command, eventually
from tests.server.outputs.test_runner import Config, Device


class Prompt(Device):
    """One that takes commands at once, unless it is told not to."""

    def __init__(self) -> None:
        super().__init__("device", Config(), SERVICES)
        self.takes = True
        self.by: dict[int, int] = {}  # the thread that handed a command over

    def head_start(self, command: Command) -> int | None:
        if self.raises is not None:
            raise self.raises
        if not self.takes:
            return None
        self.by[command.number] = threading.get_ident()
        self.done.append(command.number)
        return now_ns()

    def execute(self, command: Command) -> Outcome:
        outcome = super().execute(command)
        self.by[command.number] = threading.get_ident()
        return outcome

    def finish(self, command: Command, sent_ns: int) -> Outcome:
        if not self.there:
            raise OutputUnavailableError("The device is gone; plug it in.")
        return Outcome(command, Status.ACKNOWLEDGED, sent_ns=sent_ns, acknowledged_ns=now_ns())


@pytest.fixture
def device() -> Prompt:
    return Prompt()


def started(device: Prompt) -> tuple[OutputRunner, Outcomes]:
    outcomes = Outcomes()
    runner = OutputRunner("device", device, outcomes, Config())
    runner.start()
    return runner, outcomes


def test_a_command_with_nothing_before_it_is_handed_over_at_once(device: Prompt) -> None:
    runner, outcomes = started(device)
    runner.submit(command(number=1))
    assert device.by == {1: threading.get_ident()}
    eventually(lambda: len(outcomes.all) == 1)
    runner.close()
    (outcome,) = outcomes.all
    assert outcome.status is Status.ACKNOWLEDGED
    assert outcome.sent_ns is not None


def test_commands_stay_in_order_whatever_thread_hands_them_over(device: Prompt) -> None:
    runner, outcomes = started(device)
    for number in range(1, 201):
        device.takes = number % 3 > 0
        runner.submit(command(number=number))
        if number % 7 == 0:
            eventually(lambda number=number: len(outcomes.all) == number)
    eventually(lambda: len(outcomes.all) == 200)
    runner.close()
    assert device.done == list(range(1, 201))
    assert [outcome.command.number for outcome in outcomes.all] == list(range(1, 201))
    assert len(set(device.by.values())) == 2


def test_while_the_device_is_busy_a_command_waits_in_the_queue(device: Prompt) -> None:
    runner, outcomes = started(device)
    device.takes = False
    device.free.clear()
    runner.submit(command(number=1))
    assert device.busy.wait(WITHIN_S)
    device.takes = True
    runner.submit(command(number=2))
    assert device.done == []
    device.free.set()
    eventually(lambda: len(outcomes.all) == 2)
    runner.close()
    assert device.done == [1, 2]


def test_a_head_start_that_raises_reaches_nobody(device: Prompt) -> None:
    runner, outcomes = started(device)
    device.raises = RuntimeError("a defect")
    runner.submit(command(number=1))
    eventually(lambda: len(outcomes.all) == 1)
    device.raises = None
    runner.submit(command(number=2))
    eventually(lambda: len(outcomes.all) == 2)
    runner.close()
    assert [outcome.status for outcome in outcomes.all] == [Status.FAILED, Status.ACKNOWLEDGED]


def test_of_what_was_handed_over_to_a_device_that_went_away_nobody_knows(device: Prompt) -> None:
    runner, outcomes = started(device)
    device.there = False
    runner.submit(command(number=1))
    eventually(lambda: len(outcomes.all) == 1)
    runner.close()
    (outcome,) = outcomes.all
    assert outcome.status is Status.UNANSWERED
    assert outcome.sent_ns is not None
