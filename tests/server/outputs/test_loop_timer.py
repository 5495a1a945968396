from __future__ import annotations

import re
from pathlib import Path

import pytest
import serial

from tests.server.outputs.board import COMPILER, Board, compiled
from tests.server.outputs.conftest import needs_terminals

pytestmark = [needs_terminals, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


def test_a_wire_from_the_light_to_the_answer_takes_next_to_no_time(tmp_path: Path) -> None:
    board = Board(compiled("poseloop_loop_timer", tmp_path), tmp_path / "port", WIRE="8:2")
    with serial.Serial(str(board.port), timeout=20) as port:
        port.write(b"g")
        lines = [port.readline().decode().strip() for _ in range(3)]
    board.unplug()
    assert lines[0] == "trial,what,latency_us"
    for number, line in enumerate(lines[1:], start=1):
        trial, latency_us = re.fullmatch(r"(\d+),answered,(\d+)", line).groups()  # type: ignore[union-attr]
        assert int(trial) == number
        assert int(latency_us) < 200_000
