"""Own stages in a running experiment: acted on, recorded with their files, replayed, rehearsed, and closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from poseloop.types import Counters, PixelFormat
from poseloop_server.frames import IncomingFrame
from poseloop_server.loop.config import load_loop
from poseloop_server.loop.experiment import LiveExperiment
from poseloop_server.metrics import PoseCollector
from poseloop_server.model import PoseModel
from poseloop_server.outputs.base import OutputServices
from poseloop_server.record.entries import Account, CodeFile, DecisionEntry, StreamClosed, StreamOpened
from poseloop_server.record.reader import Log
from poseloop_server.record.rebuilt import loop_maker
from poseloop_server.record.replay import replay
from poseloop_server.rehearse.log import LogRecording
from poseloop_server.rehearse.run import ENDED, Rehearsal, run
from poseloop_server.sinks.base import Sinks
from poseloop_server.stream_table import StreamTable

from tests.server.stages.user_files import write

CONFIG = """
    experiment: own
    outputs:
      events: {type: zeromq}
    streams:
      cam0:
        stages:
          - python: {file: code/mine.py, class: Mine}
          - deeplabcut_live: {file: code/processor.py, class: Counts, save: times.txt}
        values: [travelled]
        triggers:
          far:
            when: travelled > 30
            max_age_ms: 60000
            on_rise: {events: {message: far}}
"""
MINE = """
    from helper import length

    class Mine:
        before, travelled = None, 0.0

        def process(self, pose):
            here = pose.keypoints[0, 0, :2].copy()
            if self.before is not None:
                self.travelled += length(here - self.before)
            self.before = here
            if self.travelled > 60:
                self.travelled = 0.0
            pose.values["travelled"] = self.travelled
            return pose
"""
PROCESSOR = """
    import time
    from dlclive import Processor

    class Counts(Processor):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.times = []

        def process(self, pose, **kwargs):
            self.times.append(time.time())
            return pose + [[0.5 * len(self.times), 0, 0]]

        def save(self, file):
            open(file, "w").write(f"{len(self.times)}")
            return 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "loop.yaml", CONFIG)
    write(tmp_path, "code/helper.py", "def length(step):\n    return float((step ** 2).sum()) ** 0.5\n")
    write(tmp_path, "code/mine.py", MINE)
    write(tmp_path, "code/processor.py", PROCESSOR)
    return tmp_path


def experiment(
    folder: Path,
    spot_model: Path,
    *,
    models: int = 1,
    stream: str = "cam0",
    before_opening: Callable[[], object] = lambda: None,
    before_closing: Callable[[LiveExperiment], object] = lambda _: None,
) -> Path:
    """Run 25 poses through it, and return its log; with several models the configuration tells no stream's."""
    model, *others = (PoseModel(spot_model, name=f"spot{number}") for number in range(models))
    live = LiveExperiment(folder / "loop.yaml", OutputServices(Sinks(), "server"))
    live.start([model, *others])
    before_opening()
    live.prepare_stream(stream, model)
    loop = live.open_stream(stream, model)
    assert loop is not None
    assert live.record is not None
    log, began = live.record, now_ns()
    for number in range(25):
        at = began + number * 1_000
        frame = IncomingFrame(number, 64, 48, PixelFormat.GRAY8, b"", at, at, at, 0)
        keypoints = np.array([[(4.0 * (number % 9), 10, 0.9), (20, 20, 0.9)]], np.float32)
        loop.step(frame, keypoints, (at, at), None, None)
        loop.published(now_ns())
    before_closing(live)
    live.close_stream(stream, "the camera was closed", Counters(sent=25, published=25))
    live.stop()
    return log


def test_what_own_stages_led_to_is_replayed_and_rehearsed_alike(folder: Path, spot_model: Path) -> None:
    path = experiment(folder, spot_model)
    log = Log(path)
    assert [file.path for file in log.header.files] == ["code/helper.py", "code/mine.py", "code/processor.py"]
    assert (folder / "times.txt").read_text() == "25"
    result = replay(log, loop_maker(log.header, own_code=True))
    assert (result.poses, result.different) == (25, 0)
    assert result.decisions >= 4

    recording = LogRecording(path, None, None)
    rehearsal = Rehearsal(load_loop(folder / "loop.yaml"), "cam0", recording)
    run([rehearsal], recording)
    assert not rehearsal.problems
    logged = [entry for entry in log.entries() if isinstance(entry, DecisionEntry)]
    assert [(one.sequence, one.edge, one.values) for one in logged if one.sequence is not None] == [
        (event.frame, event.decision.edge, dict(event.decision.values))
        for event in rehearsal.events
        if event.decision.reason not in (ENDED, "the camera was closed")
    ]
    assert (folder / "times-2.txt").read_text() == "25"


def test_a_changed_neighbour_is_noticed_before_a_replay(folder: Path, spot_model: Path) -> None:
    log = Log(experiment(folder, spot_model))
    write(folder, "code/helper.py", "def length(step):\n    return 0.0\n")
    with pytest.raises(InvalidInputError, match=r"helper\.py is not the one that ran"):
        loop_maker(log.header, own_code=True)


def test_poses_that_a_stage_failed_on_are_counted_where_one_can_see_it(folder: Path, spot_model: Path) -> None:
    stage = "          - python: {file: code/mine.py, class: Mine}\n"
    write(folder, "loop.yaml", CONFIG.replace(stage, stage * 2))
    write(
        folder,
        "code/mine.py",
        "class Mine:\n    def process(self, pose):\n        1 / (pose.sequence % 5)\n        return pose",
    )
    seen: list[dict[str, float]] = []

    def look(live: LiveExperiment) -> None:
        metrics = PoseCollector(StreamTable(), list, Sinks(), live).collect()
        samples = [one for metric in metrics for one in metric.samples if one.name == "poseloop_stage_failures_total"]
        seen.append({one.labels["stage"]: one.value for one in samples if one.labels["stream"] == "cam0"})
        live.account("cam0", Counters(), 0)

    entries = list(Log(experiment(folder, spot_model, before_closing=look)).entries())
    failed = {"python 1": 5, "python 2": 5}
    assert seen == [failed]
    told = [entry.stage_failures for entry in entries if isinstance(entry, Account | StreamClosed)]
    assert told == [failed, failed]


EDITED = MINE.replace("> 60", "> 90")


def opened(log: Log) -> StreamOpened:
    (entry,) = (entry for entry in log.entries() if isinstance(entry, StreamOpened))
    return entry


def as_it_is(folder: Path, name: str) -> CodeFile:
    return CodeFile(path=name, sha256=sha256((folder / name).read_bytes()).hexdigest())


def test_a_file_that_is_edited_before_its_stream_opens_runs_as_the_header_has_it(
    folder: Path, spot_model: Path
) -> None:
    ran = as_it_is(folder, "code/mine.py")
    path = experiment(folder, spot_model, before_opening=partial(write, folder, "code/mine.py", EDITED))
    log = Log(path)
    assert ran in log.header.files
    assert opened(log).files == ()
    with pytest.raises(InvalidInputError, match=r"mine\.py is not the one that ran"):
        loop_maker(log.header, own_code=True)
    write(folder, "code/mine.py", MINE)
    result = replay(log, loop_maker(log.header, own_code=True))
    assert (result.poses, result.different) == (25, 0)


@pytest.mark.parametrize("others", [{"models": 2}, {"stream": "cam7"}])
def test_files_that_are_loaded_when_a_stream_opens_stand_there(
    folder: Path, spot_model: Path, others: dict[str, Any]
) -> None:
    write(folder, "loop.yaml", CONFIG.replace("cam0:", '"*":') if "stream" in others else CONFIG)
    path = experiment(folder, spot_model, before_opening=partial(write, folder, "code/mine.py", EDITED), **others)
    log = Log(path)
    ran = as_it_is(folder, "code/mine.py")
    assert log.header.files == ()
    assert ran in opened(log).files
    assert [file.path for file in opened(log).files] == ["code/helper.py", "code/mine.py", "code/processor.py"]
    result = replay(log, loop_maker(log.header, own_code=True))
    assert (result.poses, result.different) == (25, 0)
    write(folder, "code/mine.py", MINE + "\n")
    with pytest.raises(InvalidInputError, match=r"mine\.py is not the one that ran"):
        replay(log, loop_maker(log.header, own_code=True))


def test_a_file_whose_hash_no_line_has_is_not_run(folder: Path, spot_model: Path) -> None:
    path = experiment(folder, spot_model, models=2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.pop("files", None)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = Log(path)
    with pytest.raises(InvalidInputError, match=r"mine\.py was when it ran: its SHA-256 was not recorded"):
        replay(log, loop_maker(log.header, own_code=True))
