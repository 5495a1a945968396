"""Each bench at its shortest: what it says and that its accounts balance; times are not looked at."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models import write_spot_model

BENCH = [sys.executable, "-m", "poseloop.cli", "bench"]
PERCENTILES = ["p50", "p95", "p99", "max"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "spot.onnx"
    write_spot_model(path, ("spot",), "gray", native_size=(160, 120))
    return path


@pytest.fixture
def busy_model(tmp_path: Path) -> Path:
    """One that takes some milliseconds, so that cameras can send more than it can do."""
    path = tmp_path / "busy.onnx"
    write_spot_model(path, ("spot",), "gray", native_size=(160, 120), busy_rounds=15)
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def measure(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    conditions = result["conditions"]
    assert conditions["provider"] == "CPUExecutionProvider"
    assert conditions["model_sha256"]
    assert {"poseloop", "onnxruntime", "numpy"} <= conditions["versions"].keys()
    assert conditions["cores"] >= 1
    return result


def check_account(account: dict[str, Any]) -> None:
    """Of one stream or of all: sent = published + dropped, by place, and not a pose lost on its way."""
    places = ("dropped_outbox", "lost_connection", "dropped_mailbox", "failed")
    assert account["sent"] == account["published"] + account["dropped"]
    assert account["dropped"] == sum(account[place] for place in places)
    assert account["received"] == account["published"]
    assert 0 < account["counted"] <= account["received"]
    assert list(account["age_ms"]) == list(account["end_to_end_ms"]) == PERCENTILES


def test_latency_is_measured_through_the_whole_loop(model: Path) -> None:
    result = measure(
        *("latency", "--model", model, "--transport", "grpc", "--size", "160x120", "--fps", 30, "--frames", 90)
    )
    for key in ("inference_ms", "end_to_end_ms", "overhead_ms", "overhead_published_ms"):
        values = result[key]
        assert list(values) == PERCENTILES
        assert values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
    check_account(result)
    assert result["sent"] == 90
    assert result["counted"] <= 60
    assert 0 < result["inference_ms"]["p50"] < result["end_to_end_ms"]["p50"]
    expected = result["end_to_end_ms"]["p50"] - result["inference_ms"]["p50"]
    assert result["overhead_ms"]["p50"] == pytest.approx(expected, abs=1e-3)
    stages = sum(stage["p50"] for stage in result["stages_ms"].values())
    assert stages == pytest.approx(result["end_to_end_ms"]["p50"], rel=0.5)
    assert result["server"]["memory_mib"]["first"] > 0
    assert result["conditions"]["frame"] == "160x120 gray, raw"
    assert result["conditions"]["transport"] == "grpc"


def test_under_overload_the_account_of_every_stream_balances(busy_model: Path) -> None:
    """Five streams, hence two camera processes; RGB frames for a grey model."""
    result = measure(
        *("latency", "--model", busy_model, "--size", "160x120x3", "--streams", 5, "--load", 3, "--seconds", 3)
    )
    assert [stream["stream"] for stream in result["streams"]] == [f"cam{index}" for index in range(5)]
    for stream in result["streams"]:
        check_account(stream)
        assert stream["dropped"] > 0
    check_account(result)
    for key in ("sent", "published", "dropped", "received", "counted"):
        assert result[key] == sum(stream[key] for stream in result["streams"])
    published = [stream["published"] for stream in result["streams"]]
    assert result["fairness"] == pytest.approx(min(published) / max(published), abs=1e-4)
    assert result["round_ms"] == pytest.approx(5 * result["inference_ms"]["p50"], abs=1e-2)
    assert result["conditions"]["frame"] == "160x120 rgb, raw"
    assert result["conditions"]["converted"] == "rgb to gray, by the sender"


def test_the_transport_that_was_asked_for_is_the_one_that_is_measured(model: Path) -> None:
    arguments = ("latency", "--model", model, "--transport", "local", "--size", "160x120", "--fps", 30, "--frames", 60)
    conditions = measure(*arguments)["conditions"]
    assert (conditions["transport"], conditions["poses"]) == ("local", "local")
    conditions = measure(*arguments, "--poses", "zeromq")["conditions"]
    assert (conditions["transport"], conditions["poses"]) == ("local", "zeromq")


def test_scaling_tells_each_number_of_streams_and_draws_them(model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "scaling.png"
    result = measure(
        *("scaling", "--model", model, "--size", "160x120", "--streams", "1,2", "--fps", 20, "--seconds", 2),
        *("--plot", picture),
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert result["plot"] == str(picture)
    assert list(result["inference_ms"]) == PERCENTILES
    assert [point["streams"] for point in result["points"]] == [1, 2]
    for point in result["points"]:
        check_account(point)
        assert point["sent"] == 40 * point["streams"]
        assert len(point["by_stream"]) == point["streams"]
        assert 0 < point["fairness"] <= 1
        assert point["server"]["memory_mib"]["max"] > 0


@pytest.mark.parametrize(
    ("options", "frames"), [((), 120), (("--plain-session", "--buffers", 0), 120), (("--drift", 20), 108)]
)
def test_the_naive_loop_is_measured_beside_the_server(model: Path, options: tuple[object, ...], frames: int) -> None:
    result = measure(
        *("peer", "--model", model, "--size", "160x120x3", "--streams", "2", "--fps", 20, "--seconds", 3, *options)
    )
    (point,) = result["points"]
    naive, served = point["naive"], point["served"]
    assert list(naive["age_ms"]) == list(served["age_ms"]) == PERCENTILES
    assert len(naive["by_camera_ms"]) == len(served["by_camera_ms"]) == 2
    assert naive["printed"] > 0
    assert served["sent"] == served["published"] + served["dropped"] == frames
    assert point["added_ms"]["p50"] == pytest.approx(served["age_ms"]["p50"] - naive["age_ms"]["p50"], abs=1e-3)
    plain = result["conditions"]["naive_session"] == "ONNX Runtime's own settings"
    assert plain == ("--plain-session" in options)


def test_a_soak_samples_the_server_and_says_when_it_was_too_short(busy_model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "soak.png"
    result = measure(
        *("soak", "--model", busy_model, "--size", "160x120", "--minutes", 0.05, "--interval", 1),
        *("--streams", 2, "--load", 0.3, "--plot", picture),
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(result["samples"]) == 3
    for sample in result["samples"]:
        assert sample["memory_mib"] > 0
        assert sample["threads"] > 0
        assert sample["handles"] > 0
    assert [sample["at_s"] for sample in result["samples"]] == sorted(sample["at_s"] for sample in result["samples"])
    assert result["sent"] == result["published"] + result["dropped"]
    assert result["verdict"]["steady"] is None
    assert "memory_per_hour_mib" in result["verdict"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["latency", "--frames", "60"], "the first second, 60 frames, is warm-up"),
        (["latency", "--size", "big"], "WIDTHxHEIGHT"),
        (["latency", "--size", "640x480x4"], "3 (RGB), not 4"),
        (["latency", "--size", "10x10"], "width must lie between"),
        (["scaling", "--streams", "1,none"], "commas between"),
        (["scaling", "--plot", "no-such-folder/x.png"], "name a .png in a folder that exists"),
        (["soak", "--minutes", "0.1"], "fewer than two intervals"),
    ],
)
def test_a_mistake_is_one_sentence(model: Path, arguments: list[str], word: str) -> None:
    done = run(*arguments, "--model", model)
    assert done.returncode == 1
    assert word in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_the_loop_answers_the_steps_of_the_animal() -> None:
    result = measure("loop", "--trials", 10, "--fps", 30)
    assert result["trials"] == 10
    assert result["fired"] + result["missed"] == 10
    assert result["fired"] > 0
    account = result["account"]
    assert account["sent"] == account["published"] + account["dropped"]
    assert result["capture_to_byte_ms"]["p50"] > 0
    assert result["conditions"]["record"] is True
