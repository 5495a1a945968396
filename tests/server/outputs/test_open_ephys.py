from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from poseloop_server.outputs.base import OutputUnavailableError, Status
from poseloop_server.outputs.open_ephys import OpenEphysOutput
from poseloop_server.outputs.open_ephys_config import OpenEphysAction, OpenEphysConfig
from poseloop_server.outputs.runner import OutputRunner
from pydantic import ValidationError

from tests.server.outputs.open_ephys_plugin import Plugin
from tests.server.outputs.parts import (
    SERVICES,
    Outcomes,
    command,
    eventually,
    run,
    survives_unplugging,
    try_until_acknowledged,
)


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    made = Plugin()
    yield made
    made.stop()


def started(plugin: Plugin, **keys: Any) -> tuple[OutputRunner, Outcomes]:
    config = OpenEphysConfig(**{"port": plugin.port, "deadline_ms": 60_000, "answer_timeout_ms": 5000, **keys})
    outcomes = Outcomes()
    return run(OpenEphysOutput("out", config, SERVICES), config, outcomes), outcomes


def test_a_line_is_switched(plugin: Plugin) -> None:
    runner, outcomes = started(plugin, line=7)
    runner.submit(command(OpenEphysAction(state=True), 1))
    runner.submit(command(OpenEphysAction(line=256, state=False), 2))
    for number in (1, 2):
        outcome = outcomes.of(number)
        assert outcome.status is Status.ACKNOWLEDGED
        assert outcome.sent_ns is not None
        assert outcome.acknowledged_ns is not None
        assert outcome.sent_ns <= outcome.acknowledged_ns
    assert plugin.ttl == [(7, 1), (256, 0)]
    runner.close()
    assert plugin.ttl[2:] == [(7, 0)], "closing leaves lines off"


def test_pulses_end_by_themselves(plugin: Plugin) -> None:
    runner, outcomes = started(plugin)
    runner.submit(command(OpenEphysAction(line=2, pulse_ms=30), 1))
    runner.submit(command(OpenEphysAction(line=3, pulse_ms=2, gap_ms=4, pulses=3), 2))
    eventually(lambda: len(plugin.ttl) == 8)
    assert [state for line, state in plugin.ttl if line == 2] == [1, 0]
    assert [state for line, state in plugin.ttl if line == 3] == [1, 0, 1, 0, 1, 0]
    assert outcomes.of(2).status is Status.ACKNOWLEDGED
    runner.close()


def test_a_pulse_begins_anew_where_one_runs_on_its_line(plugin: Plugin) -> None:
    runner, outcomes = started(plugin)
    runner.submit(command(OpenEphysAction(line=2, pulse_ms=600_000), 1))
    runner.submit(command(OpenEphysAction(line=2, pulse_ms=1), 2))
    outcomes.of(2)
    eventually(lambda: plugin.ttl == [(2, 1), (2, 1), (2, 0)])
    runner.close()
    assert len(plugin.ttl) == 3


def test_a_text_stands_in_the_recording(plugin: Plugin) -> None:
    runner, outcomes = started(plugin)
    runner.submit(command(OpenEphysAction(message="stimulus: left, 5 = max"), 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    assert plugin.messages[-1] == "stimulus: left, 5 = max"
    runner.close()


def test_recording_is_started_and_stopped(plugin: Plugin) -> None:
    runner, outcomes = started(plugin)
    start = OpenEphysAction(record="start", prepend_text="mouse 7 ", append_text="_b", new_folder=True)
    runner.submit(command(start, 1))
    assert outcomes.of(1).status is Status.ACKNOWLEDGED
    assert plugin.recordings == [{"CreateNewDir": "1", "PrependText": "mouse 7 ", "AppendText": "_b"}]
    runner.submit(command(start, 2))
    assert outcomes.of(2).status is Status.REFUSED, "the plugin does not handle a second start"
    assert "answered 'NotHandled'" in outcomes.of(2).message
    runner.submit(command(OpenEphysAction(record="stop"), 3))
    assert outcomes.of(3).status is Status.ACKNOWLEDGED
    runner.close()


@pytest.mark.parametrize("answer", ["InvalidChannel", "NotHandled", "TTLHandled: Channel=1 on=0"])
def test_an_answer_of_another_kind_refuses(plugin: Plugin, answer: str) -> None:
    runner, outcomes = started(plugin)
    plugin.answers["TTL"] = answer
    runner.submit(command(OpenEphysAction(line=3, state=True), 1))
    assert outcomes.of(1).status is Status.REFUSED
    assert answer in outcomes.of(1).message
    runner.close()


def test_an_answer_that_does_not_come(plugin: Plugin) -> None:
    runner, outcomes = started(plugin, answer_timeout_ms=300)
    plugin.mute = True
    runner.submit(command(OpenEphysAction(line=4, state=True), 1))
    assert outcomes.of(1).status is Status.UNANSWERED
    plugin.mute = False
    try_until_acknowledged(runner, outcomes, OpenEphysAction(line=5, state=True))
    assert (4, 0) in plugin.ttl, "a line that may be on goes off when the plugin answers again"
    runner.close()


def test_open_ephys_may_be_restarted(plugin: Plugin) -> None:
    runner, outcomes = started(plugin, answer_timeout_ms=300)
    survives_unplugging(runner, outcomes, OpenEphysAction(pulse_ms=1), plugin.stop, plugin.start)


def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = OpenEphysConfig(port=taken.getsockname()[1], answer_timeout_ms=50)
        with pytest.raises(OutputUnavailableError, match="start Open Ephys with a Network Events plugin"):
            run(OpenEphysOutput("out", config, SERVICES), config, Outcomes())


def test_somebody_else_is_there(plugin: Plugin) -> None:
    plugin.answers["IsAcquiring"] = "what?"
    with pytest.raises(OutputUnavailableError, match="is not the Network Events plugin"):
        started(plugin)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "give either"),
        ({"message": "StartRecord now"}, "is a command"),
        ({"message": "ttl"}, "is a command"),
        ({"message": "x", "state": True}, "stands alone"),
        ({"message": "x", "record": "start"}, "stands alone"),
        ({"record": "begin"}, "start"),
        ({"record": "start", "append_text": "a'b"}, "no quotes"),
        ({"record": "stop", "append_text": "a"}, "go with"),
        ({"line": 0, "state": True}, "counted from 1"),
        ({"line": 257, "state": True}, "256"),
        ({"pulse_ms": 1, "gap_ms": 1, "pulses": 1001}, "too many"),
    ],
)
def test_actions_that_make_no_sense(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OpenEphysAction(**keys)
