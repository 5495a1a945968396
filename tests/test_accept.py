"""The parts of scripts/accept.py: what they make of a bench's answer, without running one."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def latency(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from acceptance import latency

    return latency


def answer(monkeypatch: pytest.MonkeyPatch, latency: ModuleType, document: dict[str, Any]) -> list[str]:
    """Let every bench give this answer; returns what was asked, filled in as it is."""
    asked: list[str] = []

    def ask(*arguments: object) -> dict[str, Any]:
        asked.append(" ".join(map(str, arguments)))
        return document

    monkeypatch.setattr(latency, "ask", ask)
    return asked


def streams(*ages_ms: float) -> list[dict[str, Any]]:
    return [
        {"stream": f"cam{place}", "sent": 100, "published": 60, "dropped": 40, "age_ms": {"p99": age}}
        for place, age in enumerate(ages_ms)
    ]


def missed(figures: list[Any]) -> set[str]:
    return {figure.name for figure in figures if not figure.passed}


def test_every_part_is_offered() -> None:
    done = subprocess.run([sys.executable, SCRIPTS / "accept.py", "--help"], capture_output=True, text=True, check=True)
    for part in (
        "int8",
        "crop",
        "prediction",
        "one-euro",
        "latency-local",
        "latency-grpc-rgb",
        "overload",
        "sixteen",
        "peer",
        "soak",
    ):
        assert done.stdout.count(part) >= 2, "named in the usage and described"


def test_latency_is_the_middle_of_several_runs(monkeypatch: pytest.MonkeyPatch, latency: ModuleType) -> None:
    def document(ms: float) -> dict[str, Any]:
        overhead = {"p50": ms, "p99": 2 * ms}
        return {
            "inference_ms": {"p50": 2.0},
            "overhead_ms": {key: value + 0.3 for key, value in overhead.items()},
            "overhead_published_ms": overhead,
            "dropped": 0,
            "streams": [{"sent": 100, "published": 100, "dropped": 0}],
        }

    answers = iter([document(1.3), document(9.0), document(1.1), document(1.4), document(1.2)])
    monkeypatch.setattr(latency, "ask", lambda *_: next(answers))
    figures = {figure.name: figure for figure in latency.latency(None)}
    assert figures["overhead to published, median, middle of 5 runs"].value == pytest.approx(1.3)
    assert figures["overhead to published, 99 %, middle of 5 runs"].value == pytest.approx(2.6)
    assert missed(figures.values()) == {"overhead to the subscriber, median, middle of 5 runs"}


def test_overload_holds_each_stream_to_its_interval_and_one_and_a_half_rounds(
    monkeypatch: pytest.MonkeyPatch, latency: ModuleType
) -> None:
    document = {
        "load": 2.0,
        "frame_interval_ms": 10.0,
        "round_ms": 20.0,
        "fairness": 0.95,
        "streams": streams(39, 40, 41, 20),
        "server": {"memory_mib": {"by_minute": [90.0, 100.0, 101.0, 104.0]}},
    }
    asked = answer(monkeypatch, latency, document)
    assert missed(latency.overload(None)) == {"cam2: age, 99 %", "memory, minute 4 by minute 3"}
    assert all("--load 2" in command for command in asked)
    document["fairness"] = 0.89
    document["streams"][0]["published"] -= 1
    assert {"served least, of served most", "frames that the accounts do not explain"} <= missed(latency.overload(None))


@pytest.mark.parametrize(("load", "dropped", "fails"), [(0.69, 1, True), (0.69, 0, False), (0.71, 1, False)])
def test_sixteen_streams_may_drop_above_seventy_percent_only(
    monkeypatch: pytest.MonkeyPatch, latency: ModuleType, load: float, dropped: int, fails: bool
) -> None:
    document = {"load": load, "dropped": dropped, "age_ms": {"p99": 5.0}, "streams": streams(5)}
    answer(monkeypatch, latency, document)
    assert bool(missed(latency.sixteen(None))) == fails


def test_the_peer_may_win_alone_but_not_where_cameras_drift_apart(
    monkeypatch: pytest.MonkeyPatch, latency: ModuleType
) -> None:
    def side(*ages: tuple[float, float]) -> dict[str, Any]:
        by_camera = [{"p50": p50, "p99": p99} for p50, p99 in ages]
        return {"age_ms": by_camera[0], "by_camera_ms": by_camera}

    point = {"streams": 2, "naive": side((5, 6), (40, 6)), "served": side((9, 9), (6, 7))}
    added = iter([0.6, 0.1, 0.7, 9.0, 0.3])
    asked: list[str] = []

    def ask(*arguments: object) -> dict[str, Any]:
        asked.append(" ".join(map(str, arguments)))
        if asked[-1].endswith("--streams 1"):
            return {"points": [{**point, "streams": 1, "added_ms": {"p50": next(added), "p99": 1.0}}]}
        return {"points": [{**point, "added_ms": {"p50": 4.0, "p99": 3.0}}]}

    monkeypatch.setattr(latency, "ask", ask)
    figures = latency.peer(None)
    assert missed(figures) == {
        "1 camera: poseloop adds, median, middle of 5 runs",
        "2 drifting cameras: poseloop, the worst one's 99 %",
    }
    assert next(one.value for one in figures if one.name.startswith("1 camera: poseloop adds, median")) == 0.6
    assert [("--drift 2" in command) for command in asked] == [False] * 6 + [True]


def test_integers_are_held_to_their_gain_and_to_their_cost(
    monkeypatch: pytest.MonkeyPatch, latency: ModuleType, tmp_path: Path
) -> None:
    from acceptance import figures, precision

    for name in ("run-20260101-000000", "run-20260102-000000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.ckpt").touch()
    document = {"milliseconds": 6.0, "fp32_milliseconds": 13.3, "mean_error_px": 2.0, "fp32_mean_error_px": 1.9}
    document |= {"mean_shift_px": 0.2, "largest_shift_px": 1.5, "speedup": 2.21}
    asked = answer(monkeypatch, precision, document)
    places = figures.Places(tmp_path, tmp_path)
    assert not missed(precision.int8(places))
    assert all(f"run-20260102-000000/best.ckpt --precision int8 --project {tmp_path}" in command for command in asked)
    document |= {"speedup": 2.19, "mean_error_px": 2.3}
    assert missed(precision.int8(places)) == {"INT8 by fp32, times as fast", "INT8 worse by"}


def test_a_crop_is_compared_with_the_whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from acceptance import crop

    monkeypatch.setattr(crop, "WALKS", 1)
    monkeypatch.setattr(crop, "FRAMES_OF_EACH", 5)
    figures = {figure.name: figure.value for figure in crop.crop(None)}
    assert figures["crop, mean error"] > 0
    assert figures["inferences a frame"] >= 1
