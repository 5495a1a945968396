"""Which threads of a server read frames, seen from how often they ran."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import poseloop
import pytest
from poseloop.grpc_threads import can_be_asked
from poseloop_server.bundled import arena_model_path

from tests.e2e.real_server import RealServer

FRAMES = 300


def times_the_pool_ran(pid: int) -> int:
    """How often the threads of gRPC's pool were woken."""
    turns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        if (thread / "comm").read_text().strip() == "event_engine":
            status = dict(line.split(":") for line in (thread / "status").read_text().splitlines() if "ctxt" in line)
            turns += int(status["voluntary_ctxt_switches"])
    return turns


@pytest.mark.skipif(
    sys.platform != "linux" or not can_be_asked(version("grpcio")), reason="there is no pool, or it can't be left out"
)
@pytest.mark.parametrize("chosen", [None, "event_engine_listener"])
def test_no_pool_stands_between_the_socket_and_the_server_unless_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    if chosen is not None:
        monkeypatch.setenv("GRPC_EXPERIMENTS", chosen)
    else:
        monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    frame = np.zeros((480, 640), np.uint8)
    with RealServer(tmp_path, "--model", str(arena_model_path())) as server:
        with poseloop.connect(server.address) as client:
            before = times_the_pool_ran(server.process.pid)
            with client.sender("cam0", policy="lossless", transport="grpc") as sender:
                for _ in range(FRAMES):
                    sender.send(frame)
            ran = times_the_pool_ran(server.process.pid) - before
        assert "experiment" not in server.log(), server.log()
    assert (ran < FRAMES) == (chosen is None), ran
