import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import write_spot_model

BENCH = [sys.executable, "-m", "poseloop.cli", "bench", "latency"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "spot.onnx"
    write_spot_model(path, ("spot",), "gray", native_size=(160, 120))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_latency_is_measured_through_the_whole_loop(model: Path) -> None:
    done = run("--model", model, "--transport", "grpc", "--size", "160x120", "--fps", 30, "--frames", 90, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for key in ("inference_ms", "end_to_end_ms", "overhead_ms"):
        values = result[key]
        assert list(values) == ["p50", "p95", "p99", "max"]
        assert values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
    assert result["sent"] == 90
    assert result["published"] + result["dropped"] == 90
    assert 0 < result["counted"] <= result["received"] <= result["published"]
    assert result["counted"] <= 60
    assert 0 < result["inference_ms"]["p50"] < result["end_to_end_ms"]["p50"]
    expected = result["end_to_end_ms"]["p50"] - result["inference_ms"]["p50"]
    assert result["overhead_ms"]["p50"] == pytest.approx(expected, abs=1e-3)
    stages = sum(stage["p50"] for stage in result["stages_ms"].values())
    assert stages == pytest.approx(result["end_to_end_ms"]["p50"], rel=0.5)
    conditions = result["conditions"]
    assert conditions["provider"] == "CPUExecutionProvider"
    assert conditions["frame"] == "160x120 gray, raw"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--frames", "60"], "the first second, 60 frames, is warm-up"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--size", "10x10"], "width must lie between"),
    ],
)
def test_a_mistake_is_one_sentence(model: Path, arguments: list[str], word: str) -> None:
    done = run("--model", model, *arguments)
    assert done.returncode == 1
    assert word in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
