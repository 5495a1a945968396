"""Requests between the streams: their turns, their end, and how many there may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from poseloop_server.jobs import WaitingJobs
from poseloop_server.model import PoseModel
from poseloop_server.oip.account import Account
from poseloop_server.oip.inference import InferenceJob
from poseloop_server.refusal import RefusedError

from tests.server.open_inference import spot_frames


@pytest.fixture(scope="module")
def model(spot_model: Path) -> PoseModel:
    return PoseModel(spot_model, warm_up_runs=1)


def test_jobs_take_turns_and_stand_in_the_queue_once(model: PoseModel) -> None:
    async def run() -> None:
        jobs = WaitingJobs()
        long, short = InferenceJob(spot_frames((1, 1), (2, 1), (3, 1))), InferenceJob(spot_frames((4, 1)))
        assert jobs.put(long)
        assert not jobs.put(short)
        ended = []
        for job, name in ((long, "long"), (short, "short")):
            job.keypoints.add_done_callback(lambda _, name=name: ended.append(name))
        turns = 1
        while jobs.run_turn(model):
            turns += 1
        await asyncio.wait({long.keypoints, short.keypoints})
        assert (turns, ended) == (4, ["short", "long"])
        assert (await long.keypoints)[:, 0, 0, 0].tolist() == [1, 2, 3]
        assert jobs.put(InferenceJob(spot_frames((5, 1)))), "nothing waits any more"

    asyncio.run(run())


def test_who_comes_too_late_is_told(model: PoseModel) -> None:
    async def run() -> None:
        jobs = WaitingJobs()
        waiting, late = InferenceJob(spot_frames((1, 1), (2, 1))), InferenceJob(spot_frames((1, 1)))
        jobs.put(waiting)
        assert jobs.run_turn(model)
        jobs.close()
        assert not jobs.put(late)
        for job in (waiting, late):
            with pytest.raises(RefusedError, match="try again"):
                await job.keypoints

    asyncio.run(run())


def test_a_request_that_is_given_up_takes_no_turns(model: PoseModel) -> None:
    async def run() -> None:
        job = InferenceJob(spot_frames((1, 1), (2, 1)))
        job.cancel()
        assert job.run_turn(model)
        assert job.infer_ns == 0

    asyncio.run(run())


def test_an_answer_is_one_models(model: PoseModel, slow_model: Path) -> None:
    other = PoseModel(slow_model, warm_up_runs=1)

    async def run() -> None:
        job = InferenceJob(spot_frames((1, 1), (2, 1)))
        assert [job.run_turn(model), job.run_turn(other), job.run_turn(other)] == [False, False, True]
        assert (await job.keypoints).shape == (2, 1, len(other.spec.keypoints), 3)

    asyncio.run(run())


def test_messages_are_bounded_by_number_and_size() -> None:
    account = Account(max_requests=3, max_bytes=100)
    with account.admitted(1000):  # one alone may always
        with pytest.raises(RefusedError, match="MiB"), account.admitted(1):
            pass
        assert (account.requests, account.bytes) == (1, 1000)
    with account.admitted(1), account.admitted(1), account.admitted(1):
        with pytest.raises(RefusedError, match="infer-queue-requests"), account.admitted(1):
            pass
        assert account.requests == 3
    assert (account.requests, account.bytes) == (0, 0)
