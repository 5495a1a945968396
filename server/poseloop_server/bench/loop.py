"""Times the whole loop: an animal steps into a zone, and a byte arrives at a serial port."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from poseloop.types import Percentiles

from poseloop_server.bench.figures import conditions, percentiles, rounded
from poseloop_server.bench.loop_roles import STREAM, DeviceJob, StepCameraJob
from poseloop_server.bench.rig import LEAD_NS, WARM_UP_S, Rig, Setup, result_of
from poseloop_server.bench.roles import BareJob, command_of
from poseloop_server.bench.steps import KEYPOINT, ZONE_CENTER, ZONE_RADIUS, StepFilm, first_inside
from poseloop_server.processes import Child, Children

BYTE: Final = 0x54
_BARE_S: Final = 6.0
_CONFIGURATION: Final = """\
experiment: bench-loop
record: {record}
outputs:
  device: {{type: serial, port: {port}, protocol: raw}}
streams:
  {stream}:
    zones:
      corner: {{circle: {{center: [{x}, {y}], radius: {radius}}}, unit: fraction}}
    triggers:
      step:
        when: inside({keypoint}, corner)
        on_rise: {{device: {{write: "{byte:#04x}"}}}}
"""


@dataclass(frozen=True, slots=True)
class LoopJob:
    """What is measured.

    Attributes:
        setup: model, frames and transport.
        trials: how often the animal steps in.
        frames_per_second: of the camera.
        record: whether the server keeps a record meanwhile, as an experiment does.
    """

    setup: Setup
    trials: int = 1000
    frames_per_second: float = 100.0
    record: bool = True


@dataclass(frozen=True, slots=True)
class LoopResult:
    """The loop's latency; times in milliseconds.

    Attributes:
        inference: bare, before and after.
        latency: from the capture of the frame with which the animal steps in to the byte's arrival.
        overhead: the same less the median of the bare inference.
        trials, fired, missed: steps; with a byte before the animal steps out and in again, and without one.
        false_alarms: bytes that belong to no step.
        account: of the frames.
        conditions: machine, versions, model and settings.
    """

    inference: Percentiles
    latency: Percentiles
    overhead: Percentiles
    trials: int
    fired: int
    missed: int
    false_alarms: int
    account: dict[str, Any]
    conditions: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "inference_ms": rounded(self.inference),
            "capture_to_byte_ms": rounded(self.latency),
            "overhead_ms": rounded(self.overhead),
            "trials": self.trials,
            "fired": self.fired,
            "missed": self.missed,
            "false_alarms": self.false_alarms,
            "account": self.account,
            "conditions": self.conditions,
        }


def measure_loop(job: LoopJob, say: Callable[[str], None] = lambda _: None) -> LoopResult:
    """Run the measurement; ``say`` is told what happens.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: there are no pseudo-terminals here, or not one byte arrived.
    """
    if not hasattr(os, "openpty"):
        raise InvalidInputError("this bench needs a pseudo-terminal; run it on Linux or macOS")
    say("starting the device and the server")
    with Children() as children:
        device = children.start("device", command_of(DeviceJob(BYTE)), talks=True)
        configuration = _write_configuration(job, children.folder, device.hear()["port"])
        running = Rig(children, job.setup, "--loop", str(configuration))
        film = StepFilm(job.setup.width, job.setup.height, running.film().color)
        say("bare inference, before")
        before = _bare(running, job, film)
        steps = film.steps(job.trials)
        seconds = len(steps) / job.frames_per_second
        say(f"{job.trials} steps at {job.frames_per_second:g} frames a second: {seconds:.0f} s")
        sent, told = _run(running, job, film, device)
        say("bare inference, after")
        bare_ms = np.concatenate([before, _bare(running, job, film)])
        return _evaluate(job, running, steps, bare_ms, sent, told)


def _write_configuration(job: LoopJob, folder: Path, port: str) -> Path:
    file = folder / "loop.yaml"
    x, y = ZONE_CENTER
    text = _CONFIGURATION.format(
        record=json.dumps(str(folder)) if job.record else "off",
        port=json.dumps(port),
        stream=STREAM,
        x=x,
        y=y,
        radius=ZONE_RADIUS,
        keypoint=KEYPOINT,
        byte=BYTE,
    )
    file.write_text(text, encoding="utf-8")
    return file


def _run(running: Rig, job: LoopJob, film: StepFilm, device: Child) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let the animal step; return what the camera and the device saw."""
    camera_job = StepCameraJob(film, job.trials, job.frames_per_second, running.address, job.setup.transport)
    (camera,) = running.start(("camera", camera_job))
    device.hear()
    with running.blaming_the_server():
        device.tell("go")
        camera.tell(str(now_ns() + LEAD_NS))
        sent = result_of(camera)
        device.tell("end")
        return sent, result_of(device)


def _bare(running: Rig, job: LoopJob, film: StepFilm) -> NDArray[np.float64]:
    setup = job.setup
    bare = BareJob(film, _BARE_S, WARM_UP_S, job.frames_per_second, str(setup.model), setup.provider, setup.threads)
    return np.array(running.run("bare inference", bare)["times_ns"], np.float64) / 1e6


def _evaluate(
    job: LoopJob,
    running: Rig,
    inside: NDArray[np.bool_],
    bare: NDArray[np.float64],
    sent: dict[str, Any],
    told: dict[str, Any],
) -> LoopResult:
    steps = np.array(sent["captured_ns"], np.int64)[first_inside(inside)]
    latency_ms, false_alarms = match(steps, np.array(told["arrived_ns"], np.int64))
    if not len(latency_ms):
        raise InvalidInputError("not one byte arrived at the port; look whether the model finds the animal")
    median = float(np.median(bare))
    return LoopResult(
        inference=percentiles(bare),
        latency=percentiles(latency_ms),
        overhead=percentiles(latency_ms - median),
        trials=len(steps),
        fired=len(latency_ms),
        missed=len(steps) - len(latency_ms),
        false_alarms=false_alarms + told["others"],
        account=sent["account"],
        conditions={
            **conditions(job.setup, running.model, sent["account"]["transport"]),
            "frames_per_second": job.frames_per_second,
            "record": job.record,
        },
    )


def match(steps: NDArray[np.int64], arrived: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Return the time from each step to the first byte before the next one, and how many bytes were left over.

    Args:
        steps: when the animal stepped in, rising, in nanoseconds.
        arrived: when bytes did, rising.

    Returns:
        Milliseconds of the steps that a byte followed, and the number of bytes that followed none or were not first.
    """
    belongs = np.searchsorted(steps, arrived, side="right") - 1
    first = np.unique(belongs, return_index=True)[1]
    chosen = [index for index in first.tolist() if belongs[index] >= 0]
    times = (arrived[chosen] - steps[belongs[chosen]]) / 1e6
    return np.asarray(times, np.float64), len(arrived) - len(chosen)
