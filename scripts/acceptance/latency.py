"""How near to the bare inference serving is, and what it does under any load."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any

from acceptance.figures import Figure, Places, ask

RUNS = 5
# Long enough for a 99th percentile of a thousand frames.
RGB = ("--size", "640x480x3", "--fps", "100", "--seconds", "8")
# Ages are of a minute; memory is compared from minute to minute after the first, so it takes longer.
OVERLOAD = ("--streams", "4", "--load", "2", "--size", "640x480")
OVERLOAD_S, MEMORY_S = 60, 241
SIXTEEN = ("--streams", "16", "--size", "320x240", "--fps", "10", "--seconds", "60")
SOAK_MINUTES = 20
TRIALS = 1000
# Brings about within seconds what cameras that differ by 50 millionths take a quarter of an hour for.
DRIFT_PERCENT = 2
MEMORY_GROWTH = 0.02


def latency(_places: Places) -> list[Figure]:
    """Measure what the gRPC path adds to bare inference with the bundled model, in its own colour."""
    results = _several("--transport", "grpc", "--size", "640x480", "--fps", "60", "--frames", "600")
    dropped = sum(result["dropped"] for result in results)
    return [*_overhead(results, p50=1.5, p99=5.0), Figure("frames dropped", dropped, exactly=0)]


def latency_local(_places: Places) -> list[Figure]:
    """Measure what the local transport adds, with RGB frames at 100 fps."""
    results = _several("--transport", "local", *RGB)
    return [*_overhead(results, p50=0.5, p99=2.0), Figure("frames dropped", sum(one["dropped"] for one in results))]


def latency_grpc_rgb(_places: Places) -> list[Figure]:
    """Measure what raw frames over gRPC add, with RGB frames at 100 fps."""
    results = _several("--transport", "grpc", *RGB)
    return [*_overhead(results, p50=1.5, p99=4.0), Figure("frames dropped", sum(one["dropped"] for one in results))]


def overload(_places: Places) -> list[Figure]:
    """Send four streams at twice the capacity: ages and turns in a minute, then memory over several."""
    result = ask("bench", "latency", *OVERLOAD, "--seconds", str(OVERLOAD_S))
    limit_ms = result["frame_interval_ms"] + 1.5 * result["round_ms"]
    longer = ask("bench", "latency", *OVERLOAD, "--seconds", str(MEMORY_S))
    return [
        # Cameras that can't keep up would make it no overload.
        Figure("load, of what the bare inference can do", result["load"], at_least=1.8),
        Figure("one round of inference, 4 streams", result["round_ms"], "ms"),
        *(
            Figure(f"{stream['stream']}: age, 99 %", stream["age_ms"]["p99"], "ms", at_most=limit_ms)
            for stream in result["streams"]
        ),
        Figure("served least, of served most", result["fairness"], at_least=0.9),
        *_sum(result),
        *_flat(longer["server"]["memory_mib"]["by_minute"]),
    ]


def sixteen(_places: Places) -> list[Figure]:
    """Send sixteen small slow streams to one model."""
    result = ask("bench", "latency", *SIXTEEN)
    below = result["load"] < 0.7
    return [
        Figure("load, of what the bare inference can do", result["load"]),
        # Above 70 % of the capacity nothing is promised.
        Figure("frames dropped", result["dropped"], exactly=0 if below else None),
        Figure("age, 99 %", result["age_ms"]["p99"], "ms"),
        *_sum(result),
    ]


def soak(places: Places) -> list[Figure]:
    """Watch a server for twenty minutes."""
    picture = places.work / "soak.png"
    result = ask("bench", "soak", "--minutes", str(SOAK_MINUTES), "--plot", picture)
    verdict = result["verdict"]
    threads, handles, ages = (
        verdict[key] for key in ("threads_first_last", "handles_first_last", "age_p99_first_last_ms")
    )
    return [
        Figure("memory, last minute by first", verdict["memory_last_minute_by_first"], at_most=1 + MEMORY_GROWTH),
        Figure("memory, growth an hour", verdict["memory_per_hour_mib"], "MiB"),
        Figure("memory did not grow", verdict["findings"]["memory"], exactly=1),
        Figure("threads, last minute", threads[1], at_most=threads[0]),
        Figure("handles, last minute", handles[1], at_most=handles[0]),
        Figure("age, 99 %, last minute by first", ages[1] / ages[0], at_most=1.1),
        Figure("frames that were sent", result["sent"], exactly=result["published"] + result["dropped"]),
    ]


def loop(_places: Places) -> list[Figure]:
    """Time the whole loop, from an animal's step into a zone to a byte at a serial port."""
    result = ask("bench", "loop", "--size", "320x240", "--fps", "100", "--transport", "local", "--trials", str(TRIALS))
    overhead = result["overhead_ms"]
    return [
        Figure("bare inference, median", result["inference_ms"]["p50"], "ms"),
        Figure("captured to the byte, median", result["capture_to_byte_ms"]["p50"], "ms"),
        Figure("  less the median of the bare inference", overhead["p50"], "ms", at_most=1.0),
        Figure("captured to the byte, 99 %", result["capture_to_byte_ms"]["p99"], "ms"),
        Figure("  less the median of the bare inference", overhead["p99"], "ms", at_most=3.0),
        Figure("steps that were answered", result["fired"], exactly=TRIALS),
        Figure("bytes that no step asked for", result["false_alarms"], exactly=0),
    ]


def peer(_places: Places) -> list[Figure]:
    """Measure the simplest loop beside the server: what is lost with one stream, what is won from the second on.

    Of several cameras twice: with one clock for all, where nothing can be faster than the loop as long as it keeps up,
    and with a clock for each, as cameras have that nothing synchronises.
    """
    asked = ("--transport", "local", "--size", "640x480x3", "--fps", "100", "--seconds", "12")
    alone = [ask("bench", "peer", *asked, "--streams", "1")["points"][0] for _ in range(RUNS)]
    together = ask("bench", "peer", *asked, "--streams", "2,4")
    drifting = ask("bench", "peer", *asked, "--streams", "2,4", "--drift", str(DRIFT_PERCENT))
    return [
        *_alone(alone),
        *(figure for point in together["points"] for figure in _beside(point)),
        *(figure for point in drifting["points"] for figure in _drifting(point)),
    ]


def _alone(points: list[dict[str, Any]]) -> list[Figure]:
    """One camera, in the middle one of the runs: serving may cost what the local transport may."""
    figures = []
    for name, words, limit in (("p50", "median", 0.5), ("p99", "99 %", 2.0)):
        added = sorted(point["added_ms"][name] for point in points)
        naive, served = (median(point[side]["age_ms"][name] for point in points) for side in ("naive", "served"))
        figures += [
            Figure(f"1 camera: naive loop, {words}", naive, "ms"),
            Figure(f"1 camera: poseloop, {words}", served, "ms"),
            Figure(f"1 camera: poseloop adds, {words}, middle of {RUNS} runs", median(added), "ms", at_most=limit),
            Figure("  best run", added[0], "ms"),
            Figure("  worst run", added[-1], "ms"),
        ]
    return figures


def _beside(point: dict[str, Any]) -> list[Figure]:
    """Cameras with one clock."""
    cameras, figures = f"{point['streams']} cameras", []
    for name, words in (("p50", "median"), ("p99", "99 %")):
        figures += [
            Figure(f"{cameras}: naive loop, {words}", point["naive"]["age_ms"][name], "ms"),
            Figure(f"{cameras}: poseloop, {words}", point["served"]["age_ms"][name], "ms"),
            Figure(f"{cameras}: poseloop adds, {words}", point["added_ms"][name], "ms"),
        ]
    return figures


def _drifting(point: dict[str, Any]) -> list[Figure]:
    """Cameras with clocks of their own: of the one whose poses are oldest."""
    cameras, figures = f"{point['streams']} drifting cameras", []
    for name, words in (("p50", "median"), ("p99", "99 %")):
        naive, served = (max(one[name] for one in point[side]["by_camera_ms"]) for side in ("naive", "served"))
        figures += [
            Figure(f"{cameras}: naive loop, the worst one's {words}", naive, "ms"),
            Figure(f"{cameras}: poseloop, the worst one's {words}", served, "ms", at_most=naive),
        ]
    return figures


def _several(*arguments: str) -> list[dict[str, Any]]:
    """Repeat a measurement: a machine's speed changes from minute to minute, and one run may meet either."""
    return [ask("bench", "latency", *arguments) for _ in range(RUNS)]


def _overhead(results: list[dict[str, Any]], p50: float, p99: float) -> list[Figure]:
    """What serving adds, in the middle one of the runs: to published, which latency means, and to the subscriber."""
    figures = [Figure("bare inference, median", median(result["inference_ms"]["p50"] for result in results), "ms")]
    for key, words in (("overhead_published_ms", "to published"), ("overhead_ms", "to the subscriber")):
        for name, quantile, limit in (("p50", "median", p50), ("p99", "99 %", p99)):
            values = sorted(result[key][name] for result in results)
            figures += [
                Figure(f"overhead {words}, {quantile}, middle of {RUNS} runs", median(values), "ms", at_most=limit),
                Figure("  best run", values[0], "ms"),
                Figure("  worst run", values[-1], "ms"),
            ]
    return [*figures, *_sum({"streams": [stream for result in results for stream in result["streams"]]})]


def _sum(result: dict[str, Any]) -> list[Figure]:
    """Whether sent = published + dropped, of every stream."""
    off = sum(abs(one["sent"] - one["published"] - one["dropped"]) for one in result["streams"])
    return [Figure("frames that the accounts do not explain", off, exactly=0)]


def _flat(by_minute: list[float]) -> list[Figure]:
    """Resident memory from minute to minute after the first."""
    return [
        Figure(f"memory, minute {minute + 1} by minute {minute}", after / before, at_most=1 + MEMORY_GROWTH)
        for minute, (before, after) in enumerate(pairwise(by_minute[1:]), start=2)
    ]
