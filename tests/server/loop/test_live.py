"""The loop of a stream of a running server, and the experiment that it belongs to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from poseloop.clock import now_ns
from poseloop.errors import MissingExtraError, PoseloopError
from poseloop.types import Counters, PixelFormat
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server.frames import IncomingFrame
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.loop.live import LiveLoop
from poseloop_server.outputs.base import Command, OutputServices, UnansweredError
from poseloop_server.outputs.zmq_events import ZmqEventsOutput
from poseloop_server.record.differences import ReplayResult
from poseloop_server.record.reader import Log
from poseloop_server.record.rebuilt import loop_maker
from poseloop_server.record.replay import replay

from tests.server.loop.test_chain import NAMES, loop

WITHIN_S = 20.0


class Kept:
    """Keeps the commands that it is left."""

    takes_poses = False

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def submit(self, command: Command) -> None:
        self.commands.append(command)

    @property
    def on(self) -> list[bool]:
        return [one.action.on for one in self.commands if one.output == "laser" and one.action.on is not None]


def frame(sequence: int) -> IncomingFrame:
    now = now_ns()
    data = memoryview(bytes(12))
    return IncomingFrame(
        sequence=sequence,
        captured_ns=now - 5_000_000,
        captured_client_ns=now - 5_000_000,
        clock_uncertainty_ns=0,
        received_ns=now - 1_000_000,
        width=2,
        height=2,
        format=PixelFormat.RGB8,
        data=data,
    )


def step(live: LiveLoop, sequence: int, x: float = 20.0) -> Any:
    keypoints = np.array([[[x, 20.0, 0.9], [300.0, 300.0, 0.1]]], np.float32)
    now = now_ns()
    return live.step(frame(sequence), keypoints, (now, now), None, None)


def live_loop() -> tuple[LiveLoop, Kept]:
    kept: Any = Kept()
    return LiveLoop(loop(), NAMES, {"laser": kept, "note": kept}, None), kept


def test_a_defect_ends_neither_the_thread_nor_leaves_anything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    live, kept = live_loop()
    step(live, 1)
    assert kept.on == [True]
    monkeypatch.setattr(live.chain._scene, "update", lambda _: 1 / 0)
    keypoints, time_ns = step(live, 2)
    assert keypoints[0, 0, 0] == 20.0
    assert time_ns > 0
    assert kept.on == [True, False]
    assert live.failures == 1
    monkeypatch.undo()
    step(live, 3)
    assert kept.on == [True, False, True]


def test_what_a_stage_takes_makes_a_pose_older(monkeypatch: pytest.MonkeyPatch) -> None:
    live, kept = live_loop()

    def slow(pose: Any) -> Any:
        time.sleep(0.15)  # more than the trigger's max_age_ms, whatever the rest takes
        return pose

    monkeypatch.setattr(live.chain._stages, "process", slow)
    step(live, 1)
    assert not kept.commands
    monkeypatch.undo()
    step(live, 2)
    assert kept.on == [True]


def test_a_stage_that_hangs_keeps_nobody_from_switching_off(monkeypatch: pytest.MonkeyPatch) -> None:
    live, kept = live_loop()
    step(live, 1)
    hangs, free = threading.Event(), threading.Event()

    def hang(pose: Any) -> Any:
        hangs.set()
        assert free.wait(WITHIN_S)
        return pose

    monkeypatch.setattr(live.chain._stages, "process", hang)
    thread = threading.Thread(target=step, args=(live, 2))
    thread.start()
    try:
        assert hangs.wait(WITHIN_S)
        live.end("the stream was closed")
        assert kept.on == [True, False]
        assert live.chain.status()
    finally:
        free.set()
        thread.join()


EXPERIMENT = """
experiment: rig
record: records
outputs:
  events: {type: zeromq}
streams:
  cam0:
    triggers:
      near:
        when: x(snout) < 100
        at_most: {in_all: 2}
        on_rise: {events: {message: near}}
        on_fall: {events: {message: far}}
"""


class Heard:
    """A sink that keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def publish(self, topic: bytes, payload: bytes) -> None:
        self.messages.append(pb.StreamEvent.FromString(payload).message)

    def close(self) -> None:
        pass


def model(keypoints: tuple[str, ...] = NAMES, name: str = "arena") -> Any:
    return SimpleNamespace(name=name, sha256="0" * 64, spec=SimpleNamespace(keypoints=list(keypoints)))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def experiment(tmp_path: Path, heard: Heard) -> Iterator[LiveExperiment]:
    (tmp_path / "loop.yaml").write_text(EXPERIMENT, encoding="utf-8")
    one = LiveExperiment(tmp_path / "loop.yaml", OutputServices(heard, "server"))
    one.start([model()])
    yield one
    one.stop()


def opened(experiment: LiveExperiment, one: Any) -> LiveLoop:
    experiment.prepare_stream("cam0", one)
    live = experiment.open_stream("cam0", one)
    assert live is not None
    return live


def seen(live: LiveLoop, sequence: int, x: float = 20.0) -> None:
    step(live, sequence, x)
    live.published(now_ns())


def replayed(experiment: LiveExperiment) -> ReplayResult:
    assert experiment.record is not None
    log = Log(experiment.record)
    return replay(log, loop_maker(log.header))


def test_what_is_on_goes_off_when_the_server_stops_before_the_stream_was_closed(
    experiment: LiveExperiment, heard: Heard
) -> None:
    live = opened(experiment, model())
    seen(live, 1)
    step(live, 2)  # decided, and never published
    experiment.stop()
    assert heard.messages == ["near", "far"]
    result = replayed(experiment)
    assert (result.poses, result.decisions, result.differences) == (2, 2, [])


def test_two_clients_that_open_a_name_at_once_get_one_loop(
    experiment: LiveExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)
    made = []

    def make(*given: Any, **keys: Any) -> StreamLoop:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        made.append(StreamLoop(*given, **keys))
        return made[-1]

    monkeypatch.setattr("poseloop_server.loop.experiment.StreamLoop", make)
    other = model((*NAMES, "ear"))  # what is known at the start was made there
    threads = [threading.Thread(target=experiment.prepare_stream, args=("cam0", other)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_stream_that_comes_back_with_its_first_keypoints_knows_what_it_knew(
    experiment: LiveExperiment, heard: Heard
) -> None:
    sequence = count(1)
    for keypoints in (NAMES, (*NAMES, "ear"), NAMES, NAMES):
        live = opened(experiment, model(keypoints))
        now = now_ns()
        for _ in range(2):
            points = np.full((1, len(keypoints), 3), 0.9, np.float32)
            live.step(frame(next(sequence)), points, (now, now), None, None)
            live.published(now_ns())
        experiment.close_stream("cam0", "", Counters())
    experiment.stop()
    assert heard.messages.count("near") == 3, "the third opening of the first keypoints has used both of their trials"
    result = replayed(experiment)
    assert (result.poses, result.differences) == (8, [])


def test_a_pose_that_the_record_lacks_is_not_passed_over_in_a_replay(
    experiment: LiveExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = opened(experiment, model())
    seen(live, 1)
    with monkeypatch.context() as broken:
        broken.setattr(live.chain._scene, "update", lambda _: 1 / 0)
        seen(live, 2)
    seen(live, 3)
    experiment.stop()
    result = replayed(experiment)
    assert result.differences == []
    assert result.lost == 1
    assert result.not_compared == {"cam0": 1}


@pytest.mark.parametrize(
    "error", [MissingExtraError("An output", "outputs"), UnansweredError("It is mute.", 1), RuntimeError("It is odd.")]
)
def test_an_output_that_can_not_start_is_told_in_a_sentence(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: object) -> None:
        raise error

    (tmp_path / "loop.yaml").write_text(EXPERIMENT, encoding="utf-8")
    monkeypatch.setattr(ZmqEventsOutput, "open", fail)
    one = LiveExperiment(tmp_path / "loop.yaml", OutputServices(heard, "server"))
    with pytest.raises(PoseloopError, match=r"loop\.yaml:5.*output events: .*" + re.escape(str(error))):
        one.start([model()])
