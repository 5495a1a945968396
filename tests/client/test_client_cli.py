from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from poseloop.client import connect
from poseloop.documents import pose_document
from poseloop.messages import pose_from_wire
from poseloop.v1 import poseloop_pb2 as pb

PROGRAM = [sys.executable, "-m", "poseloop.cli"]


def poseloop(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    environment = {**os.environ, **variables}
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, encoding=encoding, timeout=60, env=environment)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen([*PROGRAM, *arguments], stdout=pipe, stderr=pipe, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_stream_and_watch(server: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    table = tmp_path / "poses.csv"
    endpoint = ("--endpoint", server.endpoint)
    watching = start("watch", "cam0", *endpoint, "--json", "--csv", str(table), "--frames", "20")
    drawn = start("watch", "cam0", *endpoint, "--frames", "20")
    streaming = start("stream", "synthetic:64x64@60", "--name", "cam0", "--server", server.address, "--json")
    lines, _ = watching.communicate(timeout=60)
    picture, errors = drawn.communicate(timeout=60)
    streaming.send_signal(signal.SIGINT)
    account, _ = streaming.communicate(timeout=60)

    documents = [json.loads(line) for line in lines.splitlines()]
    assert len(documents) == 20
    assert documents[0]["instances"][0]["mean"]["confidence"] == 1.0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sequence"]) for row in rows] == [document["sequence"] for document in documents]
    assert float(rows[0]["mean.x"]) == pytest.approx(documents[0]["instances"][0]["mean"]["x"], abs=1e-3)
    assert "mean" in picture
    assert "fps" in picture
    assert errors == ""
    counters = json.loads(account)
    assert streaming.returncode == 0
    assert counters["sent"] == counters["published"] + counters["dropped"] > 0
    assert counters["in_flight"] == 0


def test_stream_ends_after_its_frames_and_says_what_became_of_them(server: Any) -> None:
    options = (
        "--policy",
        "lossless",
        "--speed",
        "max",
        "--frames",
        "30",
        "--priority",
        "-5",
        "--server",
        server.address,
    )
    ended = poseloop("stream", "synthetic:64x64", *options)
    assert ended.returncode == 0
    assert ended.stdout.startswith("cam0: 30 frames in")
    assert "published 30, dropped 0" in ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process there")
@pytest.mark.parametrize("policy", ["live", "lossless"])
def test_ctrl_c_ends_a_stream_whose_server_is_away(
    make_server: Callable[..., Any], start: Callable[..., Any], policy: str
) -> None:
    server = make_server("--inference-ms", "5")
    options = ("--policy", policy, "--speed", "max", "--server", server.address, "--json")
    streaming = start("stream", "synthetic:64x64", *options)
    with connect(server.address) as connection:
        while not any(stream.counters.published for stream in connection.streams()):
            assert streaming.poll() is None
    server.kill()
    streaming.send_signal(signal.SIGINT)
    account, errors = streaming.communicate(timeout=20)
    counters = json.loads(account)
    assert counters["sent"] == counters["published"] + counters["dropped"] + counters["in_flight"] > 0
    if policy == "lossless":
        assert streaming.returncode == 1
        assert f"{counters['in_flight']} frames of stream cam0 were not answered" in errors.replace("\n", " ")
    else:
        assert streaming.returncode == counters["in_flight"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE there")
def test_watch_ends_quietly_when_nobody_reads(server: Any, start: Callable[..., Any]) -> None:
    start("stream", "synthetic:64x64@60", "--name", "piped", "--server", server.address)
    watching = start("watch", "piped", "--endpoint", server.endpoint, "--json")
    assert json.loads(watching.stdout.readline())["stream"] == "piped"
    watching.stdout.close()
    watching.wait(timeout=60)
    assert watching.stderr.read() == ""
    watching.stdout = open(os.devnull)  # noqa: SIM115, PTH123


def test_models_and_streams(server: Any) -> None:
    listed = poseloop("models", "--server", server.address, "--json")
    assert [model["name"] for model in json.loads(listed.stdout)] == ["mean"]
    assert "mean" in poseloop("models", "--server", server.address).stdout
    assert poseloop("models", "unload", "mean", "--server", server.address).returncode == 0
    swapped = poseloop("models", "swap", "mean", "mean.onnx", "--server", server.address, "--json")
    assert json.loads(swapped.stdout)["sha256"] == "f" * 64
    assert "mean" in poseloop("models", "swap", "mean", "mean.onnx", "--server", server.address).stdout
    assert "absent.onnx" in poseloop("models", "swap", "mean", "absent.onnx", "--server", server.address).stderr
    refused = poseloop("models", "load", "absent.onnx", "--server", server.address)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: file:")
    assert len(refused.stderr.splitlines()) == 1
    assert json.loads(poseloop("streams", "--server", server.address, "--json").stdout) == []


def test_errors_are_one_sentence(server: Any, unused_address: str, tmp_path: Path, start: Callable[..., Any]) -> None:
    cases = (
        ("stream", "absent.mp4"),
        ("stream", "synthetic:", "--server", "nowhere"),
        ("streams", "--server", unused_address),
        ("stream", "synthetic:64x64", "--server", server.address, "--max-fps", "0"),
        ("stream", "synthetic:64x64", "--server", server.address, "--max-fps", "5", "--policy", "lossless"),
        ("stream", "synthetic:64x64", "--server", server.address, "--priority", "101"),
        ("watch", "a b"),
        ("watch", "cam0", "--endpoint", "nowhere"),
        ("watch", "cam0", "--csv", str(tmp_path / "absent" / "poses.csv")),
    )
    for arguments, process in [(arguments, start(*arguments)) for arguments in cases]:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1, arguments
        assert errors.startswith("error: ")
        assert len(errors.splitlines()) == 1
        assert output == ""


def test_doctor(server: Any, unused_address: str) -> None:
    found = json.loads(poseloop("doctor", "--json", "--server", server.address).stdout)
    report = {check["name"]: check for check in found["checks"]}
    assert report["python"]["ok"] is True
    assert report[f"server {server.address}"]["value"] == "answers; models: mean; open streams: 0"
    failed = poseloop("doctor", "--server", unused_address)
    assert failed.returncode == 1
    assert "does not answer" in failed.stdout


def test_doctor_writes_to_a_file_whose_encoding_has_no_check_mark(server: Any) -> None:
    report = poseloop("doctor", "--server", server.address, PYTHONIOENCODING="cp1252")
    assert report.returncode == 0
    assert "python" in report.stdout
    assert report.stderr == ""


def test_what_is_not_known_of_a_stream_is_null(server: Any) -> None:
    with connect(server.address) as connection, connection.sender("idle"):
        listed = poseloop("streams", "--server", server.address, "--json")
    assert listed.returncode == 0
    assert [stream["age"]["p50"] for stream in json.loads(listed.stdout)] == [None]


def test_documents_are_those_of_the_server() -> None:
    documents = pytest.importorskip("poseloop_server.sinks.documents")
    message = pb.Pose(
        stream="cam0",
        sequence=7,
        keypoints=[1.5, 2.25, 0.5, float("nan"), float("nan"), 0.0],
        instances=2,
        keypoint_names=["snout"],
        model="mouse",
        server_id="a",
        session_id=3,
        width=64,
        height=48,
        stamps=pb.Stamps(captured_ns=1, published_ns=2),
    )
    theirs = json.loads(documents.to_json(b"pose/cam0", message.SerializeToString()))
    assert json.loads(json.dumps(pose_document(pose_from_wire(message)), allow_nan=False)) == theirs
