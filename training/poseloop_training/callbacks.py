"""What happens around the training loop: how far it is, validation, Ctrl-C and the progress bar."""

from __future__ import annotations

import copy
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from torch import Tensor

from poseloop_training.group import Group

# Validation takes at most about this part of the time.
VALIDATION_PART = 0.04
# No run ends early before this part of it.
LEAST_FRACTION = 0.5
# Newer weights are preferred while their validation error is no more than this part above the least one. A few frames'
# errors come and go by as much, and what the falling learning rate gains, they hardly show.
TOLERANCE = 0.05
# Of the running mean of the losses that is shown and drawn.
SMOOTHING = 0.95
# Where in the schedule a finished run goes on: at half the learning rate.
RESUMED_AT = 0.5


@dataclass
class Point:
    """One validation: how far the run was, the losses since the last, and the error."""

    step: int
    seconds: float
    heatmap_loss: float
    offset_loss: float
    validation_error_px: float | None


@dataclass
class Progress:
    """How far a run is, in time and steps.

    Attributes:
        deadline: when training has to end, on ``time.monotonic()``; None without a time limit.
        history: one point a validation.
    """

    deadline: float | None = None
    history: list[Point] = field(default_factory=list)
    _steps: int | None = None
    _started: float = 0.0
    _earlier_seconds: float = 0.0
    _earlier_fraction: float = 0.0
    _earlier_steps: int = 0
    _fraction: float = 0.0
    _losses: tuple[float, float] | None = None

    def start(self, batches: int, epochs: int) -> None:
        """Start the clock; ``epochs`` is -1 where only the deadline ends the run."""
        self._started = time.monotonic()
        self._steps = batches * epochs if epochs > 0 else None
        if self._steps is not None and self.deadline is None:
            self._earlier_fraction = min(self._earlier_steps / self._steps, 1.0)

    def stop(self) -> None:
        """Stop the clock: what comes after, such as calibration and the test, is no training."""
        self._earlier_seconds, self._started = self.seconds, 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._earlier_seconds + (time.monotonic() - self._started if self._started else 0.0)

    def fraction(self, step: int) -> float:
        """Return how much of the run is over, in [0, 1]: of its time or its steps, whichever is further.

        A resumed run goes on from its fraction, however much time it is given now; a finished one from the schedule's
        middle.
        """
        parts = [0.0]
        if self._steps is not None:
            parts.append((step - self._earlier_steps) / max(self._steps - self._earlier_steps, 1))
        if self.deadline is not None:
            now = time.monotonic()
            parts.append(1.0 if now >= self.deadline else (now - self._started) / (self.deadline - self._started))
        done = min(max(parts), 1.0)
        self._fraction = self._earlier_fraction + (1 - self._earlier_fraction) * done
        return self._fraction

    def is_over(self, step: int) -> bool:
        """Return whether the run's time or steps are used up."""
        return self.fraction(step) >= 1.0

    def note_loss(self, heatmap: float, offset: float) -> None:
        """Take a batch's losses into the running mean."""
        before = self._losses or (heatmap, offset)
        self._losses = (
            SMOOTHING * before[0] + (1 - SMOOTHING) * heatmap,
            SMOOTHING * before[1] + (1 - SMOOTHING) * offset,
        )

    @property
    def losses(self) -> tuple[float, float]:
        """Running means of the heatmaps' and offsets' losses; NaN before the first batch."""
        return self._losses or (float("nan"), float("nan"))

    def note_validation(self, step: int, error_px: float | None) -> None:
        """Add a point to the history."""
        self.history.append(Point(step, self.seconds, *self.losses, error_px))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as plain values."""
        return {
            "seconds": self.seconds,
            "fraction": self._fraction,
            "step": self.history[-1].step if self.history else 0,
            "history": [asdict(point) for point in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._earlier_seconds, self._earlier_steps = state["seconds"], state["step"]
        self._earlier_fraction = state["fraction"] if state["fraction"] < 1 else RESUMED_AT
        self.history = [Point(**point) for point in state["history"]]


class Validation(pl.Callback):
    """Validates the averaged network now and then, remembers the best, and ends a run that only gets worse.

    Attributes:
        best_weights: of the averaged network, the newest whose error was the least or near it; None before the first
            validation.
        best_px: their error.
        least_px: the least error.
        exhausted: the run was ended because it was worse for long.
    """

    def __init__(
        self,
        validate: Callable[[Any], float] | None,
        patience: float,
        last: Path,
        keep_best: Callable[[dict[str, Tensor]], None],
        group: Group | None = None,
    ) -> None:
        self._group = group or Group()
        self._validate = validate
        self._patience = patience
        self._last = last
        self._keep_best = keep_best
        self._best_at = 0.0
        self._next = 0.0
        self.best_weights: dict[str, Tensor] | None = None
        self.best_px = self.least_px = float("inf")
        self.exhausted = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Validate unless it was done a moment ago; always at the end of the run."""
        over = trainer.should_stop or pl_module.progress.is_over(trainer.global_step)
        if self._group.from_first(over or time.monotonic() >= self._next):
            started = time.monotonic()
            self._run(trainer, pl_module)
            ended = time.monotonic()
            self._next = ended + (ended - started) / VALIDATION_PART

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far, for checkpoints."""
        best = {"best_px": self.best_px, "best_weights": self.best_weights, "best_at": self._best_at}
        return {**best, "least_px": self.least_px}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best_px, self.best_weights = state_dict["best_px"], state_dict["best_weights"]
        self._best_at, self.least_px = state_dict["best_at"], state_dict["least_px"]

    def _run(self, trainer: pl.Trainer, module: Any) -> None:
        if self._group.first:
            self._judge(trainer, module)
        self.exhausted = bool(self._group.from_first(self.exhausted))
        trainer.should_stop = trainer.should_stop or self.exhausted
        trainer.save_checkpoint(self._last)

    def _judge(self, trainer: pl.Trainer, module: Any) -> None:
        error = self._validate(module.averaged) if self._validate else None
        module.progress.note_validation(trainer.global_step, error)
        # Without validation frames the newest average is the best that is known.
        if error is None or error <= (1 + TOLERANCE) * self.least_px:
            if error is not None:
                self.best_px, self.least_px = error, min(error, self.least_px)
            self.best_weights = copy.deepcopy(module.averaged.state_dict())
            self._best_at = module.progress.fraction(trainer.global_step)
            self._keep_best(self.best_weights)
        else:
            fraction = module.progress.fraction(trainer.global_step)
            # While the learning rate is high, errors come and go; at the end there is nothing left to spare.
            if LEAST_FRACTION < fraction < 1 and fraction - self._best_at > self._patience:
                self.exhausted = True


class StopOnInterrupt(pl.Callback):
    """Turns the first Ctrl-C into an orderly end of training after the current batch; a second one aborts.

    One that reaches any process of the group ends the training of all.
    """

    def __init__(self, group: Group | None = None) -> None:
        self._group = group or Group()
        self._came = self._agreed = False
        self._before: Any = None

    @property
    def requested(self) -> bool:
        """Whether Ctrl-C came."""
        return self._came or self._agreed

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """End the run if Ctrl-C came."""
        self._agreed = self._group.any(self._came)
        if self._agreed:
            trainer.should_stop = True


class ProgressBar(pl.Callback):
    """One line: how far the run is, its losses, the validation error and the time; in a log, a line a tenth."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._logged = 0
        self._bar = RichProgress(
            TextColumn("Training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def on_train_start(self, *_: Any) -> None:
        """Show the bar."""
        self._task = self._bar.add_task("", total=1.0)
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Move it."""
        if self._task is None:
            return
        progress: Progress = pl_module.progress
        errors = [p.validation_error_px for p in progress.history if p.validation_error_px is not None]
        error = f" · validation {errors[-1]:.2f} px, least {min(errors):.2f}" if errors else ""
        text = f"epoch {trainer.current_epoch + 1} · loss {sum(progress.losses):.3f}{error}"
        done = progress.fraction(trainer.global_step)
        self._bar.update(self._task, completed=done, description=text)
        if not self._console.is_terminal and int(10 * done) > self._logged:
            self._logged = int(10 * done)
            self._console.print(f"{done:.0%} · {text}", soft_wrap=True)

    def on_train_end(self, *_: Any) -> None:
        """Leave the bar where it is."""
        self._bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Give the terminal back."""
        self._bar.stop()
