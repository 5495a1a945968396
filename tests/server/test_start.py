"""What a server that is still loading its models says."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import grpc
import pytest
from poseloop_server import app
from poseloop_server.app import Server
from poseloop_server.model import PoseModel
from poseloop_server.settings import Settings

from tests.server.wire_client import TrackCall, connected, opening


@pytest.mark.parametrize("model", ["slow", "spot", ""])
def test_no_stream_is_opened_before_every_model_is_loaded(
    spot_model: Path, slow_model: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    let_go = threading.Event()

    class Waiting(PoseModel):
        def __init__(self, path: Path, *arguments: object, **named: object) -> None:
            if path == slow_model:
                assert let_go.wait(30)
            super().__init__(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(app, "PoseModel", Waiting)

    async def run() -> None:
        server = Server(
            Settings.model_validate(
                {
                    "model": [str(spot_model), str(slow_model)],
                    "listen": "127.0.0.1:0",
                    "publish": "tcp://127.0.0.1:*",
                    "warm_up_runs": 2,
                }
            )
        )
        addresses: list[str] = []
        bind = server._open_grpc

        async def bind_and_tell() -> object:
            address = await bind()
            addresses.append(str(address))
            return address

        monkeypatch.setattr(server, "_open_grpc", bind_and_tell)
        starting = asyncio.create_task(server.start())
        try:
            while len(server.models) < 1:
                await asyncio.sleep(0.005)
            async with connected(addresses[0]) as channel:
                early = TrackCall(channel)
                await early.send(opening("cam0", model=model))
                refused = await early.refused()
                assert refused.code is grpc.StatusCode.UNAVAILABLE
                assert "starting" in refused.sentence
                let_go.set()
                await starting
                if model:
                    call = TrackCall(channel)
                    await call.open("cam0", model=model)
                    await call.finish()
        finally:
            let_go.set()
            await starting
            await server.stop()

    asyncio.run(run())
