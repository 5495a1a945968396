"""The run folder beside a model: settings, split, checkpoints, metrics, curves and the worst test frames."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError

from poseloop_training.callbacks import Point
from poseloop_training.indices import TEST_FRAMES, write_indices
from poseloop_training.plan import Plan
from poseloop_training.reliability import RELIABILITY

CURVES = ("losses.png", "errors.png", RELIABILITY)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def best(self) -> Path:
        """The weights that were kept; `poseloop export` and ``--init`` take it."""
        return self.path / "best.ckpt"

    @property
    def last(self) -> Path:
        """State of training at the last validation, which ``--resume`` goes on from."""
        return self.path / "last.ckpt"

    @property
    def test_frames(self) -> Path:
        """The numbers of the frames that were held out, for ``poseloop evaluate --indices``."""
        return self.path / TEST_FRAMES

    @property
    def _plan(self) -> Path:
        return self.path / "settings.json"

    @property
    def metrics(self) -> Path:
        """What came out of it."""
        return self.path / "metrics.json"

    def check(self) -> None:
        """Raise InvalidInputError if the folder can't be made, or is none."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InvalidInputError(
                f"the run folder {self.path} can't be made: {there} is no folder to write into; give another --run-dir."
            )

    def begin(self, plan: Plan) -> None:
        """Write the plan of a new run, and take away what an earlier one left here: of two runs no one is told."""
        for file in (self.last, self.best, self.metrics, *(self.path / name for name in CURVES)):
            file.unlink(missing_ok=True)
        for picture in (self.path / "worst").glob("worst-*.png"):
            picture.unlink()
        self.write_plan(plan)

    def write_plan(self, plan: Plan) -> None:
        """Write settings.json, what it takes to repeat the run or go on with it, and the test frames for `evaluate`."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(plan.to_json(self.path), indent=2) + "\n"
        # The whole file or none of it, since other processes of the training may read it now.
        partial = self._plan.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self._plan)
        write_indices(self.test_frames, plan.split.test)

    def read_plan(self) -> Plan:
        """Return what `write_plan` wrote, of a run that can go on.

        Raises:
            InvalidInputError: it is no run folder, or there is nothing to go on from.
        """
        if not self._plan.is_file() or not self.last.is_file():
            raise InvalidInputError(
                f"{self.path} holds no run to go on with (settings.json and last.ckpt); give the run folder that "
                "stands beside the model, NAME.run."
            )
        return self.read_settings()

    def read_settings(self) -> Plan:
        """Return what `write_plan` wrote, of any run.

        Raises:
            InvalidInputError: there is no settings.json, or it is damaged.
        """
        if not self._plan.is_file():
            raise InvalidInputError(
                f"{self.path} holds no settings.json, which says what frames were trained on; give a checkpoint that "
                "lies in its run folder."
            )
        try:
            return Plan.from_json(json.loads(self._plan.read_text(encoding="utf-8")), self.path)
        except ValueError:
            raise InvalidInputError(f"{self._plan} is damaged, or of another version; train anew.") from None

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json."""
        self.metrics.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def draw_curves(self, history: Sequence[Point]) -> None:
        """Draw losses.png and errors.png, over the time of training."""
        minutes = [point.seconds / 60 for point in history]
        _draw(
            self.path / "losses.png",
            "loss, mean of the last batches",
            minutes,
            {"heatmap": [p.heatmap_loss for p in history], "offset": [p.offset_loss for p in history]},
        )
        errors = [point.validation_error_px for point in history]
        if all(error is not None for error in errors):
            known = [error for error in errors if error is not None]
            _draw(self.path / "errors.png", "mean validation error, pixels", minutes, {"validation": known})


def _draw(file: Path, title: str, minutes: Sequence[float], curves: dict[str, list[float]]) -> None:
    # Figure without pyplot: no window system, and no state that other threads share.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(minutes, values, marker="." if len(values) < 60 else None, label=name)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel(title)
    if all(value > 0 for values in curves.values() for value in values):
        axes.set_yscale("log")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)
