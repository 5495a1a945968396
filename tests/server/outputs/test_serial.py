from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import serial
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.outputs import device_protocol as wire
from poseloop_server.outputs.base import OutputUnavailableError, Status
from poseloop_server.outputs.runner import OutputRunner
from poseloop_server.outputs.serial_config import SerialAction, SerialConfig
from poseloop_server.outputs.serial_device import Device
from poseloop_server.outputs.serial_link import SerialLink, why_not
from poseloop_server.outputs.serial_port import SerialOutput
from pydantic import ValidationError

from tests.server.outputs.board import Board, Script
from tests.server.outputs.conftest import needs_terminals
from tests.server.outputs.parts import (
    SERVICES,
    Outcomes,
    command,
    eventually,
    run,
    survives_unplugging,
    try_until_acknowledged,
)

pytestmark = needs_terminals
MakeBoard = Callable[..., Board]
MakeScript = Callable[..., Script]


def config(port: Path, **keys: Any) -> SerialConfig:
    return SerialConfig(**{"port": str(port), "deadline_ms": 60_000, "answer_timeout_ms": 5000, **keys})


def started(port: Path, *actions: SerialAction, **keys: Any) -> tuple[OutputRunner, Outcomes]:
    made = config(port, **keys)
    output, outcomes = SerialOutput("out", made, SERVICES), Outcomes()
    for action in actions:
        output.prepare(action)
    return run(output, made, outcomes), outcomes


def pin(line: int) -> int:
    return line + 2


def test_lines_are_off_before_their_pins_drive_anything(make_board: MakeBoard) -> None:
    board = make_board()
    board.wait_for(lambda: sum(" mode " in line for line in board.lines) == 8)
    kinds = [line.split()[1:] for line in board.lines]
    assert kinds == [
        word for number in range(2, 10) for word in (["pin", f"{number}", "0"], ["mode", f"{number}", "1"])
    ]


def test_a_line_goes_on_and_off_and_the_device_says_when(make_board: MakeBoard) -> None:
    board = make_board()
    runner, outcomes = started(board.port)
    runner.submit(command(SerialAction(line=3, state=True), 1))
    runner.submit(command(SerialAction(line=3, state=False), 2))
    on, off = outcomes.of(1), outcomes.of(2)
    _, up, down = board.wait_for_edges(pin(3), 3)
    assert (on.status, off.status) == (Status.ACKNOWLEDGED, Status.ACKNOWLEDGED)
    assert on.sent_ns is not None
    assert on.acknowledged_ns is not None
    assert on.command.decided_ns <= on.sent_ns <= on.acknowledged_ns
    said_us = int(on.message.split()[1])
    assert said_us <= up.at_us <= down.at_us
    runner.close()


def test_the_device_times_its_pulses(make_board: MakeBoard) -> None:
    board = make_board()
    one = SerialAction(pulse_ms=5)
    train = SerialAction(line=1, pulse_ms=3, gap_ms=7, pulses=4)
    runner, outcomes = started(board.port, one, train)
    runner.submit(command(one, 1))
    runner.submit(command(train, 2))
    _, up, down = board.wait_for_edges(pin(0), 3)
    edges = board.wait_for_edges(pin(1), 9)
    assert down.at_us - up.at_us >= 5_000
    assert [edge.value for edge in edges] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert edges[-1].at_us - int(outcomes.of(2).message.split()[1]) >= 3 * 10_000 + 3_000
    runner.close()


def test_a_pulse_lasts_across_the_overflow_of_the_devices_clock(make_board: MakeBoard) -> None:
    board = make_board(LIFT_US=str(2**32 - 300_000))
    action = SerialAction(pulse_ms=150, gap_ms=150, pulses=2)
    runner, _ = started(board.port, action)
    runner.submit(command(action))
    edges = board.wait_for_edges(pin(0), 5)
    assert [edge.value for edge in edges] == [0, 1, 0, 1, 0]
    assert edges[-1].at_us < edges[1].at_us, "the clock has not overflowed meanwhile"
    assert (edges[-1].at_us - edges[1].at_us) % 2**32 >= 400_000
    runner.close()


def test_switching_a_line_off_ends_its_train(make_board: MakeBoard) -> None:
    board = make_board()
    train = SerialAction(pulse_ms=60_000, gap_ms=60_000, pulses=9)
    runner, outcomes = started(board.port, train)
    runner.submit(command(train, 1))
    runner.submit(command(SerialAction(state=False), 2))
    outcomes.of(2)
    assert [edge.value for edge in board.wait_for_edges(pin(0), 3)] == [0, 1, 0]
    runner.close()


def test_a_train_nobody_announced_is_told_to_the_device_first(make_board: MakeBoard) -> None:
    board = make_board()
    runner, outcomes = started(board.port)
    runner.submit(command(SerialAction(line=5, pulse_ms=2), 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    board.wait_for_edges(pin(5), 3)
    runner.close()


def test_closing_leaves_all_lines_off(make_board: MakeBoard) -> None:
    board = make_board()
    runner, _ = started(board.port)
    runner.submit(command(SerialAction(line=2, state=True), 1))
    runner.submit(command(SerialAction(line=4, pulse_ms=60_000), 2))
    runner.close()
    for line in (2, 4):
        assert [edge.value for edge in board.wait_for_edges(pin(line), 3)] == [0, 1, 0]


def test_lines_go_off_when_the_server_falls_silent(make_board: MakeBoard) -> None:
    board = make_board()
    made = config(board.port, watchdog_ms=150)
    device, link = Device(made), SerialLink(made, serial)
    device.greet(link)
    assert not device.ask(link, device.message(SerialAction(line=1, state=True))).refused
    board.wait_for_edges(pin(1), 3)
    assert device.ask(link, device.message(SerialAction(line=1, state=True))).refused, "who was silent must greet"
    device.greet(link)
    assert not device.ask(link, device.message(SerialAction(line=1, state=True))).refused
    link.close()


def test_the_server_tells_the_device_that_it_is_there(make_script: MakeScript) -> None:
    script = make_script(_sketch)
    runner, _ = started(script.port, watchdog_ms=100)
    script.wait_for(lambda heard: heard.count(bytes((wire.ALIVE,))) >= 4)
    assert wire.watchdog(100) in script.heard
    runner.close()


def test_a_device_that_was_reset_is_set_up_again(make_board: MakeBoard) -> None:
    board = make_board()
    action = SerialAction(pulse_ms=2)
    runner, outcomes = started(board.port, action)
    runner.submit(command(action, 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    board.reset()
    runner.submit(command(action, 2))
    assert outcomes.of(2).status is Status.REFUSED
    try_until_acknowledged(runner, outcomes, action)
    runner.close()


def test_unplugging_costs_nothing_and_it_comes_back(make_board: MakeBoard) -> None:
    board = make_board()
    action = SerialAction(pulse_ms=1)
    runner, outcomes = started(board.port, action)
    survives_unplugging(runner, outcomes, action, board.unplug, board.plug_in)


def test_a_port_that_goes_while_nothing_is_sent_is_noticed(make_board: MakeBoard) -> None:
    board = make_board()
    runner, _ = started(board.port)
    board.unplug()
    eventually(lambda: not runner.account().connected)
    eventually(lambda: "There is no serial port" in runner.account().problem)
    runner.close()
    board.plug_in()


def test_a_device_without_an_answer(make_script: MakeScript) -> None:
    mute = False
    script = make_script(lambda data: b"" if mute else _sketch(data))
    runner, outcomes = started(script.port, answer_timeout_ms=200, start_timeout_s=0.3)
    mute = True
    runner.submit(command(SerialAction(state=True), 1))
    outcome = outcomes.of(1)
    assert outcome.status is Status.UNANSWERED
    assert outcome.sent_ns is not None
    assert "did not answer within 200 ms" in outcome.message
    runner.close()


@pytest.mark.parametrize(
    ("hello", "says"),
    [(b"", "load docs/arduino"), (b"XX\x01\x08", "not one of ours"), (b"PL\x07\x08", "version 7")],
)
def test_a_device_that_is_not_ours(make_script: MakeScript, hello: bytes, says: str) -> None:
    greeting = bytes((wire.DONE | wire.HELLO, 0, 0, 0, 0)) + hello
    script = make_script(lambda data: greeting if data == bytes((wire.HELLO,)) and hello else b"")
    with pytest.raises(OutputUnavailableError, match=says):
        started(script.port, start_timeout_s=1.5 if hello else 0.3)


def test_a_line_that_the_device_has_not(make_script: MakeScript) -> None:
    greeting = bytes((wire.DONE | wire.HELLO, 0, 0, 0, 0)) + b"PL" + bytes((wire.VERSION, 4))
    script = make_script(lambda data: greeting if data[:1] == bytes((wire.HELLO,)) else b"")
    with pytest.raises(InvalidInputError, match="there is no line 6; the device has 0 to 3"):
        started(script.port, SerialAction(line=6, pulse_ms=1), answer_timeout_ms=200)


def test_bytes_of_a_users_own_go_out_as_they_are(make_script: MakeScript) -> None:
    script = make_script()
    runner, outcomes = started(script.port, protocol="raw", rest="0x00")
    for number, action in enumerate([{"write": "0x01 0xFF"}, {"write": [7, 8]}, {"write": "on\n"}], start=1):
        runner.submit(command(SerialAction(**action), number))
        assert outcomes.of(number).status is Status.SENT
    runner.close()
    script.wait_for(lambda heard: heard == b"\x00\x01\xff\x07\x08on\n\x00")


def test_actions_that_do_not_fit_the_protocol() -> None:
    raw = SerialOutput("out", SerialConfig(port="x", protocol="raw"), SERVICES)
    ours = SerialOutput("out", SerialConfig(port="x"), SERVICES)
    with pytest.raises(InvalidInputError, match="with `protocol: raw` an action says its bytes"):
        raw.prepare(SerialAction(state=True))
    with pytest.raises(InvalidInputError, match="`write` goes with `protocol: raw`"):
        ours.prepare(SerialAction(write="0x01"))
    with pytest.raises(InvalidInputError, match="there is no line 8"):
        ours.prepare(SerialAction(line=8, state=True))
    for place in range(wire.TRAINS):
        ours.prepare(SerialAction(pulse_ms=place + 1))
    ours.prepare(SerialAction(pulse_ms=1))
    with pytest.raises(InvalidInputError, match="holds 16 different"):
        ours.prepare(SerialAction(pulse_ms=100))


def test_a_port_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(OutputUnavailableError, match=r"There is no serial port .*; (the ports here are|there is none)"):
        started(tmp_path / "ttyACM9")


def test_a_port_that_another_program_has(make_script: MakeScript) -> None:
    script = make_script()
    with (
        serial.Serial(str(script.port), exclusive=True),
        pytest.raises(OutputUnavailableError, match="in use by another"),
    ):
        started(script.port, protocol="raw")


def test_a_port_that_may_not_be_opened() -> None:
    sentence = why_not("/dev/ttyACM0", OSError(errno.EACCES, "Permission denied"))
    assert "dialout" in sentence


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "give either"),
        ({"state": True, "pulse_ms": 1}, "give either"),
        ({"state": True, "gap_ms": 1}, "go with `pulse_ms`"),
        ({"pulse_ms": 1, "pulses": 2}, "need `gap_ms`"),
        ({"pulse_ms": -1}, "greater than 0"),
        ({"write": "0x100"}, "are not bytes"),
        ({"write": "0xZZ"}, "is no byte"),
        ({"write": ""}, "has no byte"),
        ({"write": "0x01", "state": True}, "stands alone"),
        ({"puls_ms": 1}, "Extra inputs"),
    ],
)
def test_actions_that_make_no_sense(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SerialAction(**keys)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"watchdog_ms": 50}, "too short"),
        ({"rest": "0x01"}, "goes with"),
        ({"baud": 1}, "greater"),
        ({"port": ""}, "1"),
    ],
)
def test_configurations_that_make_no_sense(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SerialConfig(**{"port": "x", **keys})


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40))
def test_whatever_came_before_the_device_can_be_greeted(board_at_rest: Board, noise: bytes) -> None:
    made = config(board_at_rest.port)
    device, link = Device(made), SerialLink(made, serial)
    link.write(noise)
    device.greet(link)
    answer = device.ask(link, device.message(SerialAction(line=7, pulse_ms=1)))
    assert not answer.refused
    device.rest(link)
    link.close()


@pytest.fixture
def board_at_rest(make_board: MakeBoard) -> Board:
    return make_board()


def _sketch(data: bytes) -> bytes:
    """Answer as our sketch does to what the host writes in one piece."""
    if data[0] == wire.HELLO:
        return bytes((wire.DONE | wire.HELLO, 0, 0, 0, 0)) + b"PL" + bytes((wire.VERSION, 8))
    if data[0] == wire.ALIVE:
        return b""
    return bytes((wire.DONE | data[0], 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("config", "action", "off"),
    [
        ({}, {"state": False}, True),
        ({}, {"state": True}, False),
        ({}, {"pulse_ms": 5}, False),
        ({"protocol": "raw", "rest": "0x00"}, {"write": "0x00"}, True),
        ({"protocol": "raw", "rest": "0x00"}, {"write": "0x01"}, False),
        ({"protocol": "raw"}, {"write": "0x00"}, False),
    ],
)
def test_what_only_switches_off_is_known(config: dict[str, Any], action: dict[str, Any], off: bool) -> None:
    output = SerialOutput("laser", SerialConfig(port="a", **config), SERVICES)
    assert output.switches_off(SerialAction(**action)) is off
