"""Connections that die without a word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from poseloop import link
from poseloop_server import app
from poseloop_server.settings import Settings

from tests.server.conftest import Serve
from tests.server.dying_link import dying_link
from tests.server.wire_client import TrackCall, connected


def test_an_idle_stream_whose_network_died_is_noticed(
    serve: Serve, spot_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_KEEPALIVE_TIME_MS", 100)
    monkeypatch.setattr(app, "_KEEPALIVE_TIMEOUT_MS", 1000)

    async def run() -> None:
        async with (
            serve(spot_model) as server,
            dying_link(server.announcement.address) as network,
            connected(network.address) as channel,
        ):
            call = TrackCall(channel)
            await call.open("cam0")
            await asyncio.sleep(1.0)  # idle for longer than a server goes on asking unless it is told to
            assert server.table.open_streams()
            network.die()
            async with asyncio.timeout(20):
                while server.table.open_streams():
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_sender_goes_on_for_longer_than_the_server_takes_to_notice() -> None:
    options = dict(app._grpc_options(Settings()))
    notices_s = (options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"]) / 1000
    assert 1.5 * notices_s <= link._LINGER_AFTER_BREAK_S
