"""The server as users start it: a process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from poseloop.v1 import poseloop_pb2 as pb
from poseloop_server import serve_cli

from tests.server.wire_client import TrackCall, connected, frame, spot_image

COMMAND = [sys.executable, "-m", "poseloop.cli", "serve"]


def test_no_thread_waits_for_what_it_logs_and_nothing_is_lost_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    free, written = threading.Event(), []

    class Terminal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert free.wait(20)
            written.append(record.getMessage())

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    with serve_cli._logging_aside(Terminal()):
        for number in range(3):
            logging.getLogger("poseloop").info("line %d", number)
        assert not written
        free.set()
    assert written == ["line 0", "line 1", "line 2"]


@dataclass
class Process:
    process: subprocess.Popen[str]
    announcement: dict[str, str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> Process:
        file = tmp_path / f"announce{len(started)}.json"
        addresses = ("--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*", "--announce", str(file))
        process = subprocess.Popen(
            [*COMMAND, *addresses, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        deadline = time.monotonic() + 60
        while not file.exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return Process(process, json.loads(file.read_text()))

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_it_announces_says_what_runs_and_ends_cleanly(start, spot_model: Path) -> None:
    server = start("--model", f"mouse={spot_model}", "--metrics", "127.0.0.1:0")
    assert set(server.announcement) == {"address", "publish", "publish_json", "metrics", "pid", "server_id"}
    assert server.announcement["pid"] == server.process.pid

    async def run() -> None:
        async with connected(server.announcement["address"]) as channel:
            call = TrackCall(channel)
            await call.open("cam0", model="mouse", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            await call.send(frame(0, spot_image(7, 8)))
            assert tuple((await call.reply()).pose.keypoints[:2]) == (7, 8)
            await call.finish()

    asyncio.run(run())
    server.process.send_signal(signal.SIGINT)
    output, _ = server.process.communicate(timeout=30)
    assert server.process.returncode == 0
    for said in ("CPUExecutionProvider", "fp32", "warm-up", "inference", "stream cam0 opened", "1 published"):
        assert said in " ".join(output.split()), output
    assert "Traceback" not in output


@pytest.mark.skipif(os.name == "nt", reason="on Windows a process can't send itself what Ctrl-C sends")
def test_ctrl_c_before_it_has_begun_ends_it_without_a_word(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        "from poseloop_server import app\n"
        "app.require_announceable = lambda _: signal.raise_signal(signal.SIGINT)\n"
        "from poseloop.cli import main; main()"
    )
    arguments = ("serve", "--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*", "--announce", tmp_path / "x")
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can handle")
def test_sigterm_answers_what_is_in_flight(start, slow_model: Path) -> None:
    server = start("--model", str(slow_model))

    async def run() -> tuple[list[int], pb.Closed]:
        async with connected(server.announcement["address"]) as channel:
            call = TrackCall(channel)
            opened = await call.open("cam0", policy=pb.DELIVERY_POLICY_LOSSLESS, return_poses=True)
            for number in range(opened.window):
                await call.send(frame(number, spot_image(1, 1)))
            answered = [(await call.reply()).pose.sequence]
            server.process.send_signal(signal.SIGTERM)
            while (reply := await call.reply()).WhichOneof("reply") == "pose":
                answered.append(reply.pose.sequence)
            refused = await call.refused()
            assert refused.code is grpc.StatusCode.UNAVAILABLE
            assert "shutting down" in refused.sentence
            return answered, reply.closed

    answered, closed = asyncio.run(run())
    assert server.process.wait(30) == 0
    assert closed.counters.received == closed.counters.published == len(answered)
    assert answered == list(range(len(answered)))


def test_streams_that_are_idle_do_not_hold_it_up(start, spot_model: Path) -> None:
    server = start("--model", str(spot_model), "--shutdown-grace-s", "60")

    async def run() -> None:
        async with connected(server.announcement["address"]) as channel:
            unopened = TrackCall(channel)  # before the others, so that the server has it when they are open
            calls = [TrackCall(channel) for _ in range(3)]
            for number, call in enumerate(calls):
                await call.open(f"cam{number}")
            server.process.send_signal(signal.SIGINT)
            for call in calls:
                assert (await call.reply()).WhichOneof("reply") == "closed"
            assert (await unopened.refused()).code is grpc.StatusCode.UNAVAILABLE

    asyncio.run(run())
    assert server.process.wait(30) == 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may surely do both, on Linux")
def test_real_time_and_locked_memory_are_there_once_it_is_ready(start, spot_model: Path) -> None:
    server = start("--model", str(spot_model), "--realtime", "7", "--lock-memory")
    process = Path("/proc", str(server.process.pid))
    deadline = time.monotonic() + 30
    while "VmLck:\t       0 kB" in (process / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    threads = [int(thread.name) for thread in (process / "task").iterdir()]
    assert any(os.sched_getscheduler(thread) == os.SCHED_FIFO for thread in threads)
    assert os.sched_getscheduler(server.process.pid) == os.SCHED_OTHER


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere.onnx"], "nowhere.onnx can't be read"),
        (["--provider", "cuda", "--model", "{model}"], "onnxruntime-gpu"),
        (["--listen", "nonsense", "--model", "{model}"], "HOST:PORT"),
        (["--provider-options", "spining=true", "--model", "{model}"], "did you mean 'spinning'"),
        (["--threads", "many", "--model", "{model}"], "threads"),
        (["--config", "nowhere.yaml"], "nowhere.yaml can't be read"),
        (["--announce", "nowhere/server.json", "--model", "unread.onnx"], "folder nowhere is not there"),
        (["--announce", "/", "--model", "unread.onnx"], "name a file"),
    ],
)
def test_what_a_user_got_wrong_is_one_sentence(arguments: list[str], said: str, spot_model: Path) -> None:
    filled = [argument.format(model=spot_model) for argument in arguments]
    free = [] if "--listen" in filled else ["--listen", "127.0.0.1:0"]
    run = subprocess.run(
        [*COMMAND, *filled, *free, "--publish", "tcp://127.0.0.1:*"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stderr.strip().count("\n") == 0
