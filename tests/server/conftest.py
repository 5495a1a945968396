from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from poseloop_server.app import Server, running
from poseloop_server.settings import Settings

from tests.models import write_spot_model

Serve = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture(scope="session")
def spot_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "spot.onnx"
    write_spot_model(path, ("snout", "tail"), fail_on_black=True)
    return path


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes some 20 ms a frame."""
    path = tmp_path_factory.mktemp("models") / "slow.onnx"
    write_spot_model(path, ("snout",), busy_rounds=40)
    return path


@pytest.fixture(scope="session")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "red.onnx"
    write_spot_model(path, ("red",), color="rgb")
    return path


@pytest.fixture
def serve() -> Serve:
    """Runs a server in this process, at free ports; keyword arguments are settings."""

    @asynccontextmanager
    async def start(*models: Path, **settings: object) -> AsyncIterator[Server]:
        chosen = {"listen": "127.0.0.1:0", "publish": "tcp://127.0.0.1:*", "warm_up_runs": 2, "threads": 1, **settings}
        async with running(Settings.model_validate({"model": [str(model) for model in models], **chosen})) as server:
            yield server

    return start
