import numpy as np
import pytest
from poseloop.clock import now_ns
from poseloop_server.bench.figures import figures_of
from poseloop_server.bench.naive import Camera
from poseloop_server.bench.rig import ServedRun, StreamRun, Traffic
from poseloop_server.bench.verdict import Moment, slope_per_hour, verdict_of
from poseloop_server.bench.watch import Sample, summary

SECOND_NS = 1_000_000_000
IMAGE = np.zeros((4, 4), np.uint8)


def stream_run(name: str, sequences: list[int], sent: int, age_ms: int) -> StreamRun:
    """A stream whose poses were published ``age_ms`` after their capture and arrived a millisecond later."""
    moments = np.array([0, 0, 0, 0, age_ms, age_ms + 1]) * 1_000_000
    poses = np.array([[sequence, *(moments + sequence * SECOND_NS)] for sequence in sequences], np.int64)
    account = {
        "sent": sent,
        "published": len(sequences),
        "dropped": sent - len(sequences),
        "dropped_outbox": 0,
        "lost_connection": 0,
        "dropped_mailbox": sent - len(sequences),
        "failed": 0,
    }
    return StreamRun(name, account, poses)


def test_figures_are_of_each_stream_and_of_all_without_the_first_second() -> None:
    runs = [stream_run("cam0", [0, 1, 2, 3], 20, 5), stream_run("cam1", [0, 9], 20, 9)]
    figures = figures_of(ServedRun(runs, "grpc", "local", 20.0, []), Traffic(2, 1.0, 20))
    first, second = figures.streams
    assert (first.counted, second.counted, figures.together.counted) == (3, 1, 4)
    assert first.age is not None
    assert second.age is not None
    assert second.end_to_end is not None
    assert (first.age.p99, second.age.p99, second.end_to_end.p50) == (5, 9, 10)
    assert first.whole
    assert (figures.together.sent, figures.together.published, figures.together.dropped) == (40, 6, 34)
    assert figures.fairness == 0.5
    assert figures.sent_per_second == 2.0


def test_cameras_drift_apart_and_end_together() -> None:
    traffic = Traffic.lasting(10.0, 3, 50.0, drift=0.1)
    assert [traffic.rate_of(place) for place in range(3)] == pytest.approx([50, 45, 40])
    assert [traffic.frames_of(place) for place in range(3)] == [500, 450, 400]


def test_a_camera_keeps_the_oldest_frames_and_drops_new_ones_while_its_buffers_are_full() -> None:
    camera = Camera([IMAGE], 1000.0, now_ns() - SECOND_NS, buffers=4)
    first = [camera.read()[0] for _ in range(4)]
    assert first == [0, 1, 2, 3]
    index, _, captured_ns = camera.read()
    # All that came since the buffers were full is gone.
    assert index >= 1000
    assert camera.dropped == pytest.approx(index - 4, abs=4)
    assert captured_ns <= now_ns()


def test_a_camera_is_waited_for_and_its_frame_is_captured_then() -> None:
    camera = Camera([IMAGE], 50.0, now_ns() + 20_000_000, buffers=4)
    before_ns = now_ns()
    seen = [camera.read() for _ in range(3)]
    assert [index for index, _, _ in seen] == [0, 1, 2]
    assert camera.dropped == 0
    captured = [captured_ns for _, _, captured_ns in seen]
    assert before_ns + 20_000_000 <= captured[0] < captured[1] < captured[2] <= now_ns()


def moments(minutes: int, growth_mib_an_hour: float, last_age_ms: float = 10.0) -> list[Moment]:
    times = np.arange(1, minutes * 6 + 1) * 10.0
    return [
        Moment(
            Sample(at_s, 100 + growth_mib_an_hour * at_s / 3600 + (30 if at_s == 70 else 0), 14, 35),
            np.full(100, 10.0 if at_s <= minutes * 60 - 60 else last_age_ms),
            0,
            100,
        )
        for at_s in times.tolist()
    ]


def test_a_slope_is_not_moved_by_outliers() -> None:
    at_s = np.arange(1000) * 3.6
    values = 100 + at_s / 3600 * 7
    values[[3, 500]] += 1000
    assert slope_per_hour(at_s, values) == pytest.approx(7, rel=0.01)
    assert slope_per_hour(at_s[:1], values[:1]) == 0


@pytest.mark.parametrize(
    ("growth", "last_age_ms", "wrong"),
    [(0.0, 10.0, set()), (30.0, 10.0, {"memory"}), (0.0, 12.0, {"age"})],
)
def test_a_soak_is_steady_where_nothing_grew(growth: float, last_age_ms: float, wrong: set[str]) -> None:
    verdict = verdict_of(moments(10, growth, last_age_ms))
    assert {name for name, fine in verdict.findings.items() if not fine} == wrong
    assert verdict.steady is not bool(wrong)
    assert verdict.memory_per_hour_mib == pytest.approx(growth, abs=0.5)


def test_a_soak_of_a_minute_tells_nothing() -> None:
    assert verdict_of(moments(1, 0.0)).steady is None


def test_memory_is_told_by_whole_minute() -> None:
    samples = [Sample(float(second), 100.0 + second // 60, 3, 9) for second in range(150)]
    told = summary(samples)
    assert told["memory_mib"]["by_minute"] == [100.0, 101.0]
    assert told["threads"] == {"first": 3, "last": 3, "max": 3}
