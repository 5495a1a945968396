"""The run folder beside a model: settings, split, checkpoints, metrics, curves and the worst test frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError
from pydantic import ValidationError

from poseloop_training.callbacks import Point
from poseloop_training.indices import write_indices
from poseloop_training.settings import TrainSettings
from poseloop_training.split import Split


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def best(self) -> Path:
        """Weights with the least validation error; `poseloop export` and ``--init`` take it."""
        return self.path / "best.ckpt"

    @property
    def last(self) -> Path:
        """State of training at the last validation, which ``--resume`` goes on from."""
        return self.path / "last.ckpt"

    @property
    def metrics(self) -> Path:
        """What came out of it."""
        return self.path / "metrics.json"

    def write_plan(self, settings: TrainSettings, split: Split, labels_sha256: str) -> None:
        """Write settings.json, what it takes to repeat the run or go on with it, and the test frames for `evaluate`."""
        plan = {"settings": settings.model_dump(), "split": asdict(split), "labels_sha256": labels_sha256}
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "settings.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        write_indices(self.path / "test_frames.json", split.test)

    def read_plan(self, labels_sha256: str) -> tuple[TrainSettings, Split]:
        """Return what `write_plan` wrote.

        Raises:
            InvalidInputError: it is no run folder, there is nothing to go on from, or the labels have changed.
        """
        file = self.path / "settings.json"
        if not file.is_file() or not self.last.is_file():
            raise InvalidInputError(
                f"{self.path} holds no run to go on with (settings.json and last.ckpt); give the run folder that "
                "stands beside the model, NAME.run."
            )
        try:
            plan = json.loads(file.read_text(encoding="utf-8"))
            settings = TrainSettings.model_validate(plan["settings"])
            split = Split(**{name: tuple(indices) for name, indices in plan["split"].items()})
            trained_on = plan["labels_sha256"]
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            raise InvalidInputError(f"{file} is damaged; train anew.") from None
        if trained_on != labels_sha256:
            raise InvalidInputError(
                f"{self.path} was trained on other labels than these; go on with its own project, or train anew with "
                f"--init {self.best}."
            )
        return settings, split

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
