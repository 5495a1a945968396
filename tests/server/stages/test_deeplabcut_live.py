"""Processors in the style of DeepLabCut-live's own: a laser on a serial port, a forward prediction, an old one."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.stages import dlclive_stand_in
from poseloop_server.stages.deeplabcut_live import DeepLabCutLiveConfig, DeepLabCutLiveStage
from poseloop_server.stages.dlclive_stand_in import PoseTime
from poseloop_server.stages.user_code import StageFailedError

from tests.server.stages.user_files import context, pose, write

NAN = float("nan")

LASER = """
from dlclive.processor.processor import Processor
import json
import serial
import time


class CornerLaser(Processor):
    def __init__(self, port, corner=100, **kwargs):
        super().__init__(**kwargs)
        self.port = serial.Serial(port, 115200)
        self.corner = corner
        self.on = False
        self.times = []

    def process(self, pose, **kwargs):
        inside = pose[0, 0] < self.corner and pose[0, 1] < self.corner and pose[0, 2] > 0.5
        if inside != self.on:
            self.on = inside
            self.port.write(b"O" if inside else b"X")
            self.times.append(time.time())
        return pose

    def save(self, file=None):
        if not file:
            return 0
        with open(file, "w") as out:
            json.dump(self.times, out)
        return 1
"""

PREDICTOR = """
import time
import numpy as np
from dlclive import Processor


class Ahead(Processor):
    def __init__(self, forward=0.0, **kwargs):
        super().__init__(**kwargs)
        self.forward = forward
        self.last = None

    def process(self, pose, **kwargs):
        ahead = time.time() - kwargs["frame_time"] + self.forward
        before, self.last = self.last, (kwargs["frame_time"], pose.copy())
        if before is None:
            return pose
        velocity = (pose[:, :2] - before[1][:, :2]) / (kwargs["frame_time"] - before[0])
        return np.hstack([pose[:, :2] + velocity * ahead, pose[:, 2:]])
"""


def stage(folder: Path, name: str, file: str = "processor.py", **keys: Any) -> DeepLabCutLiveStage:
    config = DeepLabCutLiveConfig.model_validate({"file": file, "class": name, **keys})
    return DeepLabCutLiveStage(config, context(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_laser_on_a_serial_port_fires_and_its_times_are_saved(tmp_path: Path) -> None:
    pytest.importorskip("serial")
    import os
    import tty

    device, port = os.openpty()
    tty.setraw(port)
    write(tmp_path, "processor.py", LASER)
    options = {"port": os.ttyname(port), "corner": 50}
    laser = stage(tmp_path, "CornerLaser", options=options, save="times.json")
    began = time.time()
    for number, x in enumerate((200, 40, 30, 60, 20)):
        after = laser.process(pose(number, ((x, 20, 0.9), (30, 40, 0.8))))
        assert after["snout"].x == x
    received = b""
    while len(received) < 3:  # a terminal hands over what has come so far
        received += os.read(device, 16)
    assert received == b"OXO"
    laser.close()
    laser.close()
    times = json.loads((tmp_path / "times.json").read_text())
    assert np.diff(times).tolist() == pytest.approx([0.02, 0.01], abs=1e-6)  # by the frames' times, not the test's
    assert abs(times[0] - began) < 1e9
    for file in (device, port):
        os.close(file)


def test_a_prediction_by_the_time_of_day_is_that_of_the_pose(tmp_path: Path) -> None:
    write(tmp_path, "processor.py", PREDICTOR)
    ahead = stage(tmp_path, "Ahead", options={"forward": 0.02})
    first = ahead.process(pose(0, ((10, 0, 0.9), (0, 0, 0.8))))
    assert first["snout"].x == 10
    second = ahead.process(pose(1, ((12, 0, 0.9), (0, 0, 0.8))))  # 200 px/s; decided 10 ms after capture
    assert second["snout"].x == pytest.approx(12 + 200 * 0.03, rel=1e-4)
    ahead.reset()
    assert ahead.process(pose(2, ((14, 0, 0.9), (0, 0, 0.8))))["snout"].x == 14


@given(
    moments=st.lists(st.integers(0, 10**15), min_size=2, max_size=2),
    offsets=st.lists(st.integers(10**18, 2 * 10**18), min_size=2, max_size=2),
)
@settings(max_examples=300)
def test_differences_of_times_do_not_depend_on_the_time_of_day(moments: list[int], offsets: list[int]) -> None:
    differences = set()
    for offset in offsets:
        clock = PoseTime()
        clock._offset_ticks = dlclive_stand_in._ticks(offset)
        differences.add(clock.of_day(moments[1]) - clock.of_day(moments[0]))
    assert len(differences) == 1
    assert abs(differences.pop() - (moments[1] - moments[0]) / 1e9) < 1e-6


def test_only_while_a_pose_is_handled_time_stands_still(tmp_path: Path) -> None:
    write(
        tmp_path,
        "processor.py",
        """
        import threading
        from time import time, monotonic_ns, sleep
        import time as clock

        class Clock:
            made = time()

            def process(self, pose):
                sleep(0)
                elsewhere = []
                thread = threading.Thread(target=lambda: elsewhere.append(monotonic_ns()))
                thread.start()
                thread.join()
                assert time() == clock.time() and clock.time_ns() > 10**18
                pose[0] = [monotonic_ns() / 1e6, elsewhere[0] > 10**9, 1]
                return pose
        """,
    )
    after = stage(tmp_path, "Clock").process(pose(100))
    assert after["snout"].x == pytest.approx(1010, abs=1e-3)
    assert after["snout"].y == 1
    assert time.time is not None
    assert "dlclive" not in sys.modules


def test_an_old_processor_takes_no_words_and_a_newer_one_those_it_names(tmp_path: Path) -> None:
    write(
        tmp_path,
        "processor.py",
        """
        import dlclive.processor

        class Old(dlclive.processor.Processor):
            def __init__(self):
                super().__init__()

            def process(self, pose):
                return pose * 2

        class Named(dlclive.Processor):
            def process(self, pose, frame_time=None, record=False):
                pose[0, 0] = frame_time - round(frame_time) if frame_time else 0
                pose[0, 1] = record
                return pose
        """,
    )
    old = stage(tmp_path, "Old").process(pose())
    assert old["snout"] == pytest.approx((20, 40, 1.8))
    assert stage(tmp_path, "Named").process(pose())["snout"].y == 1


def test_only_the_first_animal_is_handed_over(tmp_path: Path) -> None:
    write(tmp_path, "processor.py", "class P:\n    def process(self, pose, **kwargs):\n        return pose + 1\n")
    several = pose()
    several.keypoints = np.concatenate([several.keypoints, several.keypoints])
    after = stage(tmp_path, "P").process(several)
    assert np.array_equal(after.keypoints[0], pose().keypoints[0] + 1)
    assert np.array_equal(after.keypoints[1], pose().keypoints[0])
    none = pose()
    none.keypoints = none.keypoints[:0]
    assert np.isnan(stage(tmp_path, "P").process(none).keypoints[..., :2]).all()


@pytest.mark.parametrize(("absent", "seen"), [("nan", (NAN, NAN)), ("last", (10, 20))])
def test_what_is_absent_has_no_likelihood_and_comes_back_absent(
    tmp_path: Path, absent: str, seen: tuple[float, float]
) -> None:
    write(
        tmp_path,
        "processor.py",
        """
        class Sees:
            def process(self, pose, **kwargs):
                self.last = pose.copy()
                return pose
        """,
    )
    sees = stage(tmp_path, "Sees", absent=absent)
    sees.process(pose())
    after = sees.process(pose(1, ((NAN, NAN, NAN), (30, 40, 0.8))))
    assert sees._processor.last[0].tolist() == pytest.approx((*seen, 0), nan_ok=True)
    assert np.isnan(after.keypoints[0, 0]).all()
    assert after["tail"] == pytest.approx((30, 40, 0.8))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", r"P\.process returned nothing; it must return the pose, an array of \(2, 3\)"),
        ("return pose[:1]", r"P\.process returned an array of \(1, 3\); it must return the pose"),
        ("return 'pose'", r"P\.process returned no numbers"),
        ("return kwargs['frame']", r"processor\.py, line 3: KeyError: 'frame'"),
    ],
)
def test_a_failure_is_one_line_and_leaves_the_pose_as_it_was(tmp_path: Path, body: str, said: str) -> None:
    write(tmp_path, "processor.py", f"class P:\n    def process(self, pose, **kwargs):\n        {body}\n")
    given_pose = pose()
    with pytest.raises(StageFailedError, match=said):
        stage(tmp_path, "P").process(given_pose)
    assert np.array_equal(given_pose.keypoints, pose().keypoints)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import time\nfrom dlclive import DLCLive\n", r"processor\.py, line 2: it needs DLCLive of dlclive"),
        ("import dlclive\nx = dlclive.Display\n", r"line 2: it needs Display of dlclive"),
        ("from dlclive.processor import KalmanFilterPredictor\n", r"line 1: it needs KalmanFilterPredictor"),
        ("import dlclive.benchmark\n", r"line 1: it needs dlclive\.benchmark of dlclive"),
        ("import no_such_thing\n", r"line 1: there is no module 'no_such_thing'; install it"),
        ("class P:\n    def process(self, pose):\n        return pose\n", r"line 1: the class P has no method save"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    if "dlclive" in text and dlclive_stand_in.stand_in_modules() == {}:
        pytest.skip("DeepLabCut-live itself is installed here")
    write(tmp_path, "processor.py", text)
    with pytest.raises(InvalidInputError, match=said):
        stage(tmp_path, "P", save="times.json")
    with pytest.raises(InvalidInputError, match=r"the folder .*nowhere to save to is not there"):
        stage(tmp_path, "P", save="nowhere/times.json")


def test_what_was_saved_before_is_kept_and_a_failure_is_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        "processor.py",
        """
        class P:
            answer = 1

            def process(self, pose, **kwargs):
                return pose

            def save(self, file):
                if self.answer == 0:
                    raise OSError("disk full")
                open(file, "w").write("saved")
                return self.answer
        """,
    )
    saves = stage(tmp_path, "P", save="out.txt")
    saves.reset()
    assert not list(tmp_path.glob("*.txt"))  # without a pose there is nothing to save
    for _ in range(2):
        saves.process(pose())
        saves.reset()
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["out-2.txt", "out.txt"]
    for answer, said in ((-1, r"P\.save answered -1"), (0, r"line 9: OSError: disk full, when P saved .*out-4\.txt")):
        saves.process(pose())
        saves._processor.answer = answer
        with pytest.raises(StageFailedError, match=said):
            saves.reset()
    assert saves.process(pose())["snout"].x == 10


def test_the_real_base_class_is_taken_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Real:
        real = True

    package, inner = ModuleType("dlclive"), ModuleType("dlclive.processor")
    package.__path__ = []  # type: ignore[attr-defined]
    inner.Processor = Real  # type: ignore[attr-defined]
    package.processor = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dlclive", package)
    monkeypatch.setitem(sys.modules, "dlclive.processor", inner)
    write(
        tmp_path,
        "processor.py",
        """
        from dlclive.processor import Processor

        class P(Processor):
            def process(self, pose):
                return pose * self.real
        """,
    )
    assert stage(tmp_path, "P").process(pose())["snout"].x == 10
