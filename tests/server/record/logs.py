"""What the tests of the record write into logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.outputs.base import ActionConfig, Command
from poseloop_server.record.encode import PoseRecord, packed
from poseloop_server.record.header import Experiment
from poseloop_server.record.writer import LogWriter, Pace

NAMES = ("snout", "tail")
EXPERIMENT = Experiment("Öffnen & 開く", {"seed": 7}, server_id="server")


class Pulse(ActionConfig):
    pulse_ms: float
    file: Path = Path("a/b")


def begin(folder: Path, **arguments: object) -> LogWriter:
    settings = {"experiment": EXPERIMENT, "pace": Pace(least_mib=1), **arguments}
    return LogWriter(folder=folder, **settings)  # type: ignore[arg-type]


def keypoints(*rows: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array([rows or [(1.5, 2.5, 0.9), (np.nan, np.nan, 0.0)]], np.float32)


def pose(sequence: int, stream: str = "cam0", at: NDArray[np.float32] | None = None, **fields: object) -> PoseRecord:
    start = 1_000_000_000 + sequence * 10_000_000
    record = PoseRecord(
        stream=stream,
        sequence=sequence,
        captured_ns=start,
        received_ns=start + 1_000_000,
        inference_started_ns=start + 1_100_000,
        inference_ended_ns=start + 4_000_000,
        decided_ns=start + 4_050_000,
        published_ns=start + 4_200_000,
        width=320,
        height=240,
        keypoints=packed(keypoints() if at is None else at),
    )
    return record._replace(**fields)


def command(number: int, sequence: int, trigger: str = "near", stream: str = "cam0") -> Command:
    start = 1_000_000_000 + sequence * 10_000_000
    return Command(number, "laser", Pulse(pulse_ms=10), stream, trigger, sequence, start, start + 4_050_000)


def decision(number: int, sequence: int, fired: bool = True, reason: str = "", trigger: str = "near") -> Decision:
    commands = (command(number, sequence, trigger),) if fired else ()
    return Decision(trigger, Edge.RISE, fired, reason, {"speed(snout)": 31.25}, commands)
