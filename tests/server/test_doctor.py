from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from poseloop_server.doctor import Timing, examine, recommend
from poseloop_server.settings_sources import load_settings

CPU = Timing("cpu", "", 1, "a CPU", 100.0, 10.0, 11.0, 0.0)
CUDA = replace(CPU, provider="cuda", median_ms=2.1)


def test_it_times_what_is_here_and_recommends_what_the_server_takes(spot_model: Path) -> None:
    found = examine(spot_model)
    timings = [Timing(**timing) for timing in found["timings"]]
    assert {timing.provider for timing in timings} >= {"cpu"}
    assert {timing.threads for timing in timings} >= {1}
    assert all(0 < timing.median_ms <= timing.p95_ms for timing in timings)
    assert timings[0].difference_px == 0
    chosen = dict(found["recommended"])
    words = chosen.pop("flags").split()
    assert Timing(**chosen) in timings
    flags = {
        flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(words[::2], words[1::2], strict=True)
    }
    settings = load_settings(None, flags, {})
    assert (settings.provider, settings.threads) == (chosen["provider"], chosen["threads"])


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([replace(CPU, threads=2, median_ms=5.0)], 1),  # twice as fast
        ([replace(CPU, threads=2, median_ms=9.5)], 0),  # as fast, with more threads
        ([replace(CPU, provider="openvino", median_ms=6.0, difference_px=0.01)], 1),
        ([replace(CPU, provider="openvino", median_ms=9.5, difference_px=0.01)], 0),  # as fast, and one more package
        ([replace(CPU, provider="openvino", median_ms=2.0, difference_px=25.7)], 0),  # fast and wrong
        ([replace(CPU, provider="openvino", median_ms=2.0, difference_px=None)], 0),  # nobody knows
        ([replace(CUDA, median_ms=2.0, options="cuda_graph=true"), CUDA], 2),  # as fast without
    ],
)  # fmt: skip
def test_it_recommends_the_plainest_of_the_fastest_that_are_right(others: list[Timing], expected: int) -> None:
    timings = [CPU, *others]
    assert recommend(timings) == timings[expected]


def test_it_recommends_nothing_where_nothing_runs() -> None:
    assert recommend([]) is None


def test_a_file_that_is_no_model_is_told_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    run = subprocess.run(
        [sys.executable, "-m", "poseloop.cli", "doctor", "--json", "--model", str(path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 1
    found = json.loads(run.stdout)
    assert found["recommended"] is None
    (line,) = [check for check in found["checks"] if check["name"] == "provider cpu"]
    assert line["ok"] is False
    assert "can't be loaded as an ONNX model" in line["remedy"]


def test_a_missing_keypoint_is_a_difference_that_nobody_can_tell() -> None:
    from poseloop_server.doctor import _difference

    here = [np.array([[[[1, 2, 0.9], [3, 4, 0.1]]]], np.float32)]
    assert _difference(here, [np.array([[[[1, 5, 0.9], [9, 9, 0.1]]]], np.float32)]) == 3
    assert _difference(here, [np.array([[[[np.nan, np.nan, 0], [3, 4, 0.1]]]], np.float32)]) is None
    assert _difference([here[0] * np.float32(0)], here) is None
