from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.app import Server
from poseloop_server.placement import Placement, default_threads, usable_cores

from tests.server.conftest import Serve

needs_pinning = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins threads")


@pytest.mark.parametrize(
    ("cores", "models", "threads"),
    [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 2), (8, 1, 4), (64, 1, 4), (8, 2, 2), (4, 9, 1)],
)
def test_the_default_leaves_cores_to_cameras_and_subscribers(cores: int, models: int, threads: int) -> None:
    assert default_threads(cores, models) == threads
    assert threads * models < max(cores, models + 1)


@needs_pinning
def test_a_thread_is_pinned_meanwhile_and_free_again() -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    inherited: list[set[int]] = []
    with Placement(1, (core,)).pinned():
        assert os.sched_getaffinity(0) == {core}
        thread = threading.Thread(target=lambda: inherited.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    assert os.sched_getaffinity(0) == before
    assert inherited == [{core}]


def test_cores_that_are_not_here_are_one_sentence() -> None:
    with pytest.raises(InvalidInputError, match=r"^cores: "):
        Placement(1, (4095,)).check()
    Placement(1, ()).check()


def test_threads_for_a_model_that_is_not_served_are_one_sentence(serve: Serve, spot_model: Path) -> None:
    async def run(**settings: object) -> int:
        async with serve(spot_model, **settings) as server:
            return server.models[0].threads

    assert asyncio.run(run(model_threads=["spot=2"])) == 2
    with pytest.raises(InvalidInputError, match="model_threads: no model spit is served; there is spot"):
        asyncio.run(run(model_threads=["spit=2"]))


def test_names_and_folders_of_models_that_are_none_are_one_sentence(
    serve: Serve, spot_model: Path, tmp_path: Path
) -> None:
    async def run(model: str, **settings: object) -> None:
        async with serve(Path(model), **settings):
            pass

    with pytest.raises(InvalidInputError, match=r"model: 'a\\nb' is no name for a model"):
        asyncio.run(run(f"a\nb={spot_model}"))
    with pytest.raises(InvalidInputError, match=r"models_dir: .*absent is no folder; make it"):
        asyncio.run(run(str(spot_model), models_dir=tmp_path / "absent"))


@needs_pinning
def test_the_models_thread_runs_on_its_cores(serve: Serve, spot_model: Path) -> None:
    core = min(os.sched_getaffinity(0))

    async def run() -> None:
        async with serve(spot_model, cores=[f"spot={core}"]) as server:
            assert await asyncio.to_thread(_cores_of_thread, server, "model spot") == {core}
            assert usable_cores() == len(os.sched_getaffinity(0)), "nothing else is pinned"

    asyncio.run(run())


def _cores_of_thread(server: Server, name: str) -> set[int]:
    (thread,) = [one for one in threading.enumerate() if one.name == name]
    assert thread.native_id is not None
    # The thread pins itself when it starts, which may be a moment after the server is ready.
    for _ in range(1000):
        cores = os.sched_getaffinity(thread.native_id)
        if len(cores) == 1:
            return cores
        threading.Event().wait(0.01)
    return cores
