"""Measure what a release has to reach, through the program that users run.

    python scripts/accept.py accuracy          train on openfield within 15 minutes, then the error on held-out frames
    python scripts/accept.py accuracy-7        the same within 7 minutes, three seeds
    python scripts/accept.py accuracy-15       and within 15
    python scripts/accept.py accuracy-no-limit and for as long as it takes
    python scripts/accept.py accuracy-fast     a model that takes 5 ms a frame on one core
    python scripts/accept.py accuracy-arena    sixty frames of an arena unlike the bundled model's
    python scripts/accept.py int8              that model in INT8: how much faster, and how much worse
    python scripts/accept.py crop              a window that follows a small animal, beside the whole frame
    python scripts/accept.py served            serve that model and follow a whole video, lossless and live
    python scripts/accept.py prediction        the pose two frames ahead, on a real mouse and real flies
    python scripts/accept.py one-euro          how much calmer and how much later the One-Euro filter makes a pose
    python scripts/accept.py latency           what serving adds to bare inference
    python scripts/accept.py latency-local     the same by the local transport, RGB frames at 100 fps
    python scripts/accept.py latency-grpc-rgb  the same by gRPC
    python scripts/accept.py overload          four streams at twice the capacity
    python scripts/accept.py sixteen           sixteen streams on one model
    python scripts/accept.py peer              the simplest loop in one process, beside the server
    python scripts/accept.py loop              from an animal's step into a zone to a byte at a serial port
    python scripts/accept.py soak              twenty minutes of steady load
    python scripts/accept.py all               one after the other

Prints a table and writes the figures as JSON; the exit status is 1 where one misses its limit. `accuracy`, `int8`,
`served` and `prediction` need the recordings, looked for in $POSELOOP_TEST_DATA or ../shared/data. Nothing else should
run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from acceptance import crop, filtering, latency, learning, precision, prediction, recordings
from acceptance.figures import Figure, Places, report, write
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
PARTS: dict[str, Callable[[Places], list[Figure]]] = {
    "accuracy": recordings.accuracy,
    "accuracy-7": learning.seven_minutes,
    "accuracy-15": learning.fifteen_minutes,
    "accuracy-no-limit": learning.no_limit,
    "accuracy-fast": learning.fast,
    "accuracy-arena": learning.unlike_arena,
    "int8": precision.int8,
    "crop": crop.crop,
    "served": recordings.served,
    "prediction": prediction.prediction,
    "one-euro": filtering.one_euro,
    "latency": latency.latency,
    "latency-local": latency.latency_local,
    "latency-grpc-rgb": latency.latency_grpc_rgb,
    "overload": latency.overload,
    "sixteen": latency.sixteen,
    "peer": latency.peer,
    "loop": latency.loop,
    "soak": latency.soak,
}


def places_of(arguments: argparse.Namespace) -> Places:
    data = Path(os.environ.get("POSELOOP_TEST_DATA") or ROOT.parent / "shared/data")
    recorded = ("accuracy", "int8", "served", "prediction", "all")
    if arguments.part.startswith(recorded) and not (data / "openfield").is_dir():
        sys.exit(f"The recordings are not at {data}; set POSELOOP_TEST_DATA to their folder.")
    arguments.work.mkdir(parents=True, exist_ok=True)
    places = Places(data, arguments.work)
    if arguments.part in ("int8", "served", "prediction") and not places.model.exists():
        sys.exit(f"There is no model {places.model}; run `python scripts/accept.py accuracy` first.")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--work", type=Path, default=ROOT / "runs/accept", help="folder for the model and the figures")
    arguments = parser.parse_args()
    places = places_of(arguments)
    figures = {}
    for part in PARTS if arguments.part == "all" else [arguments.part]:
        figures[part] = PARTS[part](places)
        write({part: figures[part]}, places.work / "figures.json")
    Console().print(report(figures))
    if not all(figure.passed for measured in figures.values() for figure in measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
