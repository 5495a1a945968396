"""The trained model in fewer bits, beside itself in fp32."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from acceptance.figures import Figure, Places, ask

# A ratio of two medians varies by some hundredths from one process to the next.
TIMES = 3


def int8(places: Places) -> list[Figure]:
    """Quantise the model that `accuracy` trained, and compare it with fp32 on one core and on the test frames."""
    command = (
        "export", latest_run(places) / "best.ckpt", "--precision", "int8", "--project", places.project,
        "--out", places.work / "openfield-int8.onnx",
    )  # fmt: skip
    results = [ask(*command) for _ in range(TIMES)]
    last = results[-1]
    return [
        Figure("fp32, one core", statistics.median(one["fp32_milliseconds"] for one in results), "ms"),
        Figure("INT8, one core", statistics.median(one["milliseconds"] for one in results), "ms"),
        Figure("INT8 by fp32, times as fast", statistics.median(one["speedup"] for one in results), at_least=2.2),
        Figure("mean test error, fp32", last["fp32_mean_error_px"], "px"),
        Figure("mean test error, INT8", last["mean_error_px"], "px"),
        Figure("INT8 worse by", last["mean_error_px"] - last["fp32_mean_error_px"], "px", at_most=0.3),
        Figure("keypoints moved, mean", last["mean_shift_px"], "px"),
        Figure("keypoints moved, most", last["largest_shift_px"], "px"),
    ]


def latest_run(places: Places) -> Path:
    """Return the newest run folder of `accuracy`; their names are their times."""
    found = sorted(folder for folder in places.work.glob("run-*") if (folder / "best.ckpt").is_file())
    if not found:
        sys.exit(f"There is no run in {places.work}; run `python scripts/accept.py accuracy` first.")
    return found[-1]
