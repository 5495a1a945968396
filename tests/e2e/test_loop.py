"""An experiment: an animal walks, triggers fire, and what happened can be proved; as processes that a rig runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import poseloop
import pytest
from poseloop.arena import Arena, ArenaSettings

from tests.e2e.real_server import RealServer, run_poseloop

LOOP = """\
experiment: corner test
seed: 3
record: records
outputs:
  events: {{type: zeromq}}
  web: {{type: http, url: "http://127.0.0.1:{port}/hook"}}
streams:
  cam0:
    stages:
      - one_euro: {{}}
    zones:
      left: {{polygon: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], unit: fraction}}
    triggers:
      left_half:
        when: inside(body_centre, left)
        max_age_ms: 60000
        on_rise: {{events: {{message: went left}}, web: {{}}}}
        on_fall: {{events: {{message: went right}}}}
"""
FRAMES_PER_SECOND = 5.0


class Hook:
    """A web server that keeps what is posted."""

    def __init__(self) -> None:
        posted: list[dict[str, object]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.posted = posted
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def crossings() -> tuple[Arena, list[int]]:
    """An arena, and frames of which the first is on the right and the others lead over the middle and back."""
    arena = Arena(ArenaSettings(320, 240, FRAMES_PER_SECOND, seed=2))
    part = arena.keypoint_names.index("body_centre")
    places = [arena.keypoints(index)[part][0] for index in range(int(arena.period_s * FRAMES_PER_SECOND))]
    right = [index for index, x in enumerate(places) if x > 190][:3]
    left = [index for index, x in enumerate(places) if x < 130][:3]
    return arena, right + left + right


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def send(server: RealServer, arena: Arena, frames: list[int]) -> None:
    with poseloop.connect(server.address) as connection, connection.sender("cam0", policy="lossless") as sender:
        for index in frames:
            sender.send(arena.frame(index))


def test_a_trigger_fires_and_its_record_can_be_replayed(tmp_path: Path, hook: Hook) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(LOOP.format(port=hook.server.server_port))
    arena, frames = crossings()
    with RealServer(tmp_path, "--loop", str(config)) as server:
        send(server, arena, frames)
        wait_for(lambda: len(hook.posted) == 1)
        with poseloop.connect(server.address) as connection:
            loop = connection.triggers()
            assert loop.experiment == "corner test"
            assert [(one.name, one.stream, one.fired, one.state) for one in loop.triggers] == [
                ("left_half", "cam0", 1, "waiting")
            ]
            assert {one.name: one.connected for one in loop.outputs} == {"events": True, "web": True}
            assert connection.arm("left_half", armed=False) == 1
            with pytest.raises(poseloop.RequestRefusedError, match="there is no trigger 'right_half'"):
                connection.arm("right_half")
        send(server, arena, frames)
        with poseloop.connect(server.address) as connection:
            wait_for(lambda: connection.triggers().triggers[0].suppressed == {"disarmed": 1})
            assert not connection.triggers().triggers[0].armed
        shown = run_poseloop("triggers", "--server", server.address)
        assert "left_half" in shown.stdout
        assert "disarmed 1" in shown.stdout
    assert len(hook.posted) == 1
    assert hook.posted[0]["trigger"] == "left_half"
    (log,) = (tmp_path / "records").glob("*")
    replayed = run_poseloop("record", "replay", str(log))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    page = tmp_path / "report.html"
    reported = run_poseloop("report", str(log), "--out", str(page))
    assert reported.returncode == 0, reported.stderr
    assert "left_half" in page.read_text(encoding="utf-8")


def test_a_mistaken_experiment_does_not_start(tmp_path: Path) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(LOOP.format(port=9).replace("body_centre", "body_center"))
    done = run_poseloop("serve", "--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*", "--loop", str(config))
    assert done.returncode == 1
    assert "loop.yaml" in done.stderr
    assert "body_centre" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_record_that_cannot_be_written_keeps_the_server_from_starting(tmp_path: Path) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(LOOP.format(port=9).replace("record: records", "record: loop.yaml"))
    done = run_poseloop("serve", "--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*", "--loop", str(config))
    assert done.returncode == 1
    assert "loop.yaml:3: record: " in done.stderr
    assert "give another one as `record`" in done.stderr


def test_a_stream_that_the_experiment_does_not_know_is_told_of(tmp_path: Path, hook: Hook) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(LOOP.format(port=hook.server.server_port).replace("cam0:", "cam1:"))
    arena, frames = crossings()
    with RealServer(tmp_path, "--loop", str(config)) as server:
        send(server, arena, frames)
        wait_for(lambda: "no trigger fires on it" in server.log())
    (log,) = (tmp_path / "records").glob("*")
    problems = [line for line in map(json.loads, log.read_text().splitlines()) if line["kind"] == "problem"]
    assert problems[0]["where"] == "stream cam0"
    assert problems[0]["message"].endswith("loop.yaml has only cam1")


def test_a_server_without_an_experiment_says_so(tmp_path: Path) -> None:
    with RealServer(tmp_path) as server:
        assert "has no triggers" in run_poseloop("triggers", "--server", server.address).stdout
        refused = run_poseloop("triggers", "disarm", "--server", server.address)
    assert refused.returncode == 1
    assert "start it with --loop FILE" in refused.stderr
