"""An experiment on a server in this process, where things go wrong."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server import app
from poseloop_server.loop.pose import LoopPose
from poseloop_server.record.entries import StreamClosed
from poseloop_server.record.reader import Log
from poseloop_server.record.rebuilt import loop_maker
from poseloop_server.record.replay import replay
from poseloop_server.record.report.collect import collect
from poseloop_server.record.report.page import page_of

from tests.server.conftest import Serve
from tests.server.wire_client import TrackCall, connected, frame, spot_image

WITHIN_S = 30.0
EXPERIMENT = """
experiment: rig
record: .
outputs:
  events: {type: zeromq}
streams:
  cam0:
    triggers:
      near:
        when: x(snout) < 100
        confidence: 0
        max_age_ms: 60000
        max_gap_ms: 60000
        on_rise: {events: {message: near}}
        on_fall: {events: {message: far}}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "loop.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path


async def send(call: TrackCall, sequence: int) -> pb.Pose:
    await call.send(frame(sequence, spot_image(10, 10)))
    while (reply := await call.reply()).WhichOneof("reply") != "pose":
        pass
    return reply.pose


def outcomes(path: Path) -> list[str]:
    """Return what became of the commands, and the edges that they were given at."""
    entries = list(Log(path).entries())
    return [one.kind for one in entries if one.kind == "outcome"] + [
        str(one.edge) for one in entries if one.kind == "decision"
    ]


def test_a_stage_that_hangs_keeps_no_output_from_its_rest(
    serve: Serve, spot_model: Path, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, free = threading.Event(), threading.Event()
    at_rest: list[bool] = []

    def hang(pose: LoopPose) -> LoopPose:
        hangs.set()
        assert free.wait(WITHIN_S)
        return pose

    async def run() -> Path:
        async with serve(spot_model, loop=experiment, shutdown_grace_s=0.1) as server:
            acts = server.experiment
            assert acts is not None
            end = acts.stop

            def stop() -> None:
                end()
                at_rest.append(not free.is_set())
                free.set()

            async with connected(server.announcement.address) as channel:
                call = TrackCall(channel)
                await call.open("cam0", return_poses=True)
                await send(call, 1)
                monkeypatch.setattr(acts.loops["cam0"].chain._stages, "process", hang)
                monkeypatch.setattr(acts, "stop", stop)
                await call.send(frame(2, spot_image(10, 10)))
                assert await asyncio.to_thread(hangs.wait, WITHIN_S)
                acts.watch()
                await server.stop()
                call.call.cancel()
            assert acts.record is not None
            return acts.record

    monkeypatch.setattr(app, "_LAST_TURN_S", 0.1)
    path = asyncio.run(asyncio.wait_for(run(), WITHIN_S))
    assert at_rest[0]
    assert outcomes(path) == ["outcome", "outcome", "rise", "fall"]


def test_the_record_says_by_how_much_the_times_of_another_computer_may_be_wrong(
    serve: Serve, spot_model: Path, experiment: Path
) -> None:
    async def run() -> Path:
        async with serve(spot_model, loop=experiment) as server:
            assert server.experiment is not None
            async with connected(server.announcement.address) as channel:
                call = TrackCall(channel)
                await call.open("cam0", return_poses=True)
                for sequence, uncertainty_ns in ((1, 70_000), (2, 9_000_000), (3, 80_000)):
                    await call.send(frame(sequence, spot_image(10, 10), clock_uncertainty_ns=uncertainty_ns))
                await call.finish()
            assert server.experiment.record is not None
            return server.experiment.record

    path = asyncio.run(asyncio.wait_for(run(), WITHIN_S))
    (closed,) = (entry for entry in Log(path).entries() if isinstance(entry, StreamClosed))
    assert closed.clock_uncertainty_ns == 9_000_000
    assert "Captures of another computer are off by no more than 9.00 ms" in page_of(collect(Log(path)), path.name)


def test_a_defect_of_the_loop_costs_no_pose_and_no_other_stream(
    serve: Serve, spot_model: Path, experiment: Path
) -> None:
    async def run() -> Path:
        async with serve(spot_model, loop=experiment) as server:
            acts = server.experiment
            assert acts is not None
            async with connected(server.announcement.address) as channel:
                call, other = TrackCall(channel), TrackCall(channel)
                await call.open("cam0", return_poses=True)
                await other.open("cam1", return_poses=True)
                await send(call, 1)
                broken: Any = acts.loops["cam0"].chain
                del broken._scene
                assert (await send(call, 2)).sequence == 2
                assert (await send(other, 1)).sequence == 1
                await call.finish()
                await other.finish()
            assert acts.record is not None
            return acts.record

    path = asyncio.run(asyncio.wait_for(run(), WITHIN_S))
    log = Log(path)
    result = replay(log, loop_maker(log.header))
    assert (result.differences, result.lost) == ([], 1)
    assert outcomes(path) == ["outcome", "outcome", "rise", "fall"]
