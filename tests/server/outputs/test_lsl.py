from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from poseloop.clock import now_ns
from poseloop_server.outputs.base import Status
from poseloop_server.outputs.lsl import LslAction, LslConfig, LslOutput
from poseloop_server.outputs.runner import OutputRunner

from tests.server.outputs.parts import SERVICES, WITHIN_S, Outcomes, command, eventually, pose, run, survives_unplugging


@pytest.fixture(scope="module")
def lsl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """pylsl, kept to this machine."""
    settings: Path = tmp_path_factory.mktemp("lsl") / "lsl_api.cfg"
    settings.write_text("[multicast]\nResolveScope = machine\n[log]\nlevel = -3\n")
    os.environ["LSLAPICFG"] = str(settings)
    try:
        import pylsl
    except RuntimeError as error:
        pytest.skip(f"pylsl has no liblsl here: {error}")
    return pylsl


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


class Recorder:
    """Receives one stream, as LabRecorder does."""

    def __init__(self, lsl: Any, name: str) -> None:
        (found,) = lsl.resolve_byprop("name", name, 1, WITHIN_S)
        self.inlet = lsl.StreamInlet(found, recover=False)
        self.inlet.open_stream(WITHIN_S)

    def close(self) -> None:
        self.inlet.close_stream()


def started(prefix: str, **keys: Any) -> tuple[OutputRunner, Outcomes]:
    config = LslConfig(prefix=prefix, deadline_ms=60_000, **keys)
    outcomes = Outcomes()
    return run(LslOutput("out", config, SERVICES), config, outcomes), outcomes


def channels(info: Any) -> Iterator[dict[str, str]]:
    channel = info.desc().child("channels").child("channel")
    while not channel.empty():
        yield {key: channel.child_value(key) for key in ("label", "marker", "object", "type", "unit")}
        channel = channel.next_sibling("channel")


def test_poses_come_with_their_capture_times_and_the_names_of_their_channels(lsl: Any, prefix: str) -> None:
    runner, _ = started(prefix)
    first = pose(1, animals=2)
    first.keypoints[1, 0] = np.nan
    runner.submit_pose(first)
    recorder = Recorder(lsl, f"{prefix}-cam1")
    eventually(lambda: runner._output._poses and all(one.have_consumers() for one in runner._output._poses.values()))  # type: ignore[attr-defined]
    captured_ns = now_ns() - 25_000_000
    captured_on_lsl = lsl.local_clock() - (now_ns() - captured_ns) / 1e9
    later = pose(2, animals=2, captured_ns=captured_ns, time_ns=captured_ns)
    later.keypoints[1, 0] = np.nan
    runner.submit_pose(later)
    sample, stamp = recorder.inlet.pull_sample(WITHIN_S)
    assert stamp == pytest.approx(captured_on_lsl, abs=1e-3)
    np.testing.assert_array_equal(np.asarray(sample, np.float32), later.keypoints.reshape(-1))
    info = recorder.inlet.info(WITHIN_S)
    assert (info.type(), info.channel_count(), info.nominal_srate()) == ("MoCap", 12, 0.0)
    listed = list(channels(info))
    assert len(listed) == 12
    assert listed[0] == {
        "label": "animal1_snout_x",
        "marker": "snout",
        "object": "animal1",
        "type": "PositionX",
        "unit": "pixels",
    }
    assert [one["type"] for one in listed[:3]] == ["PositionX", "PositionY", "Confidence"]
    assert listed[11]["label"] == "animal2_tail_confidence"
    assert listed[11]["unit"] == "normalized"
    assert float(info.desc().child("acquisition").child_value("compensated_lag")) >= 0.009
    assert info.desc().child("setup").child_value("frame_width") == "320"
    recorder.close()
    runner.close()


def test_markers_say_what_happened_and_when(lsl: Any, prefix: str) -> None:
    runner, outcomes = started(prefix)
    recorder = Recorder(lsl, f"{prefix}-markers")
    assert recorder.inlet.info(WITHIN_S).type() == "Markers"
    eventually(runner._output._markers.have_consumers)  # type: ignore[attr-defined]
    before = lsl.local_clock()
    runner.submit(command(LslAction(), 1))
    (text,), stamp = recorder.inlet.pull_sample(WITHIN_S)
    assert text == "in_corner rise"
    assert before <= stamp <= lsl.local_clock()
    assert outcomes.of(1).status is Status.SENT
    captured_ns = now_ns() - 80_000_000
    on_lsl = lsl.local_clock() - (now_ns() - captured_ns) / 1e9
    runner.submit(command(LslAction(marker="laser", stamp="captured"), 2, captured_ns=captured_ns))
    (text,), stamp = recorder.inlet.pull_sample(WITHIN_S)
    assert (text, stamp) == ("laser", pytest.approx(on_lsl, abs=1e-3))
    recorder.close()
    runner.close()


def test_a_marker_that_nobody_receives_is_lost(lsl: Any, prefix: str) -> None:
    runner, outcomes = started(prefix)
    runner.submit(command(LslAction(), 1))
    assert outcomes.of(1).status is Status.DROPPED_GONE
    assert "no inlet" in outcomes.of(1).message
    runner.close()


def test_markers_may_be_off(lsl: Any, prefix: str) -> None:
    runner, outcomes = started(prefix, markers=False)
    runner.submit(command(LslAction(), 1))
    assert outcomes.of(1).status is Status.REFUSED
    runner.close()


def test_a_recorder_may_go_and_come_back(lsl: Any, prefix: str) -> None:
    runner, outcomes = started(prefix)
    recorders = [Recorder(lsl, f"{prefix}-markers")]
    survives_unplugging(
        runner,
        outcomes,
        LslAction(),
        lambda: recorders.pop().close(),
        lambda: recorders.append(Recorder(lsl, f"{prefix}-markers")),
        notices=False,
    )
    recorders.pop().close()
