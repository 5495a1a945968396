from __future__ import annotations

from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory, MockPin
from poseloop.errors import InvalidInputError
from poseloop_server.outputs.base import OutputUnavailableError, Status
from poseloop_server.outputs.gpio import GpioConfig, GpioOutput
from poseloop_server.outputs.lines import LineAction
from poseloop_server.outputs.runner import OutputRunner

from tests.server.outputs.parts import SERVICES, Outcomes, command, eventually, run, survives_unplugging


class Pin(MockPin):
    """A pin of a board that can be taken away; the mock stands in the place of hardware."""

    there = True

    def _set_state(self, value: Any) -> None:
        if not Pin.there:
            raise gpiozero.PinSetInput("the board is gone")
        super()._set_state(value)


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = MockFactory(pin_class=Pin)
    monkeypatch.setattr(gpiozero.Device, "pin_factory", made)
    yield made
    made.reset()


def started(**keys: Any) -> tuple[OutputRunner, Outcomes]:
    config = GpioConfig(**{"pins": [17, "BOARD13"], "deadline_ms": 60_000, **keys})
    outcomes = Outcomes()
    return run(GpioOutput("out", config, SERVICES), config, outcomes), outcomes


def states(pin: MockPin) -> list[bool]:
    return [bool(one.state) for one in pin.states]


def test_lines_go_on_and_off(factory: MockFactory) -> None:
    runner, outcomes = started()
    runner.submit(command(LineAction(state=True), 1))
    runner.submit(command(LineAction(line=1, state=True), 2))
    runner.submit(command(LineAction(state=False), 3))
    for number in (1, 2, 3):
        assert outcomes.of(number).status is Status.SENT
    assert (factory.pin(17).state, factory.pin(27).state) == (0, 1)
    runner.close()
    assert factory.pin(27).states[-1].state == 0


def test_trains_have_their_pulses(factory: MockFactory) -> None:
    runner, _ = started()
    runner.submit(command(LineAction(pulse_ms=2, gap_ms=1, pulses=3)))
    eventually(lambda: states(factory.pin(17)).count(True) == 3 and not factory.pin(17).state)
    runner.close()


def test_closing_ends_a_pulse(factory: MockFactory) -> None:
    runner, outcomes = started()
    runner.submit(command(LineAction(pulse_ms=600_000), 1))
    outcomes.of(1)
    eventually(lambda: factory.pin(17).state)
    runner.close()
    assert not factory.pin(17).states[-1].state


def test_a_line_may_be_active_low(factory: MockFactory) -> None:
    runner, outcomes = started(active_high=False)
    assert factory.pin(17).state == 1
    runner.submit(command(LineAction(state=True), 1))
    outcomes.of(1)
    assert factory.pin(17).state == 0
    runner.close()


def test_a_line_that_there_is_not(factory: MockFactory) -> None:
    runner, outcomes = started()
    runner.submit(command(LineAction(line=2, state=True), 1))
    assert outcomes.of(1).status is Status.REFUSED
    runner.close()
    with pytest.raises(InvalidInputError, match="`pins` has 0 to 1"):
        GpioOutput("out", GpioConfig(pins=[17, 18]), SERVICES).prepare(LineAction(line=2, state=True))


def test_a_board_may_go_and_come_back(factory: MockFactory) -> None:
    runner, outcomes = started()
    try:
        survives_unplugging(
            runner,
            outcomes,
            LineAction(state=True),
            lambda: setattr(Pin, "there", False),
            lambda: setattr(Pin, "there", True),
        )
    finally:
        Pin.there = True


@pytest.mark.parametrize("pin", [99, "NOPE"])
def test_a_pin_that_there_is_not(factory: MockFactory, pin: int | str) -> None:
    with pytest.raises(OutputUnavailableError, match=f"GPIO pin {pin} can't be used"):
        started(pins=[pin])
