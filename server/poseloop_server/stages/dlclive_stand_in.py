"""What a DeepLabCut-live processor's file imports, where DeepLabCut-live is not installed, and its time of day.

The modules are given to the one file that asks for them (`poseloop_server.stages.user_imports`); no other code of this
process sees them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from poseloop.clock import now_ns

NOTE: Final = (
    "Stands in for the base class of DeepLabCut-live's processors, which is not installed; see docs/own-stages.md."
)

# Times of day are handed over as float seconds. Near the year 2030 those lie 2**-22 s apart, so on this grid an offset
# is added without rounding, and differences between times are the same whatever the offset is: in a replay as live.
_TICKS_A_SECOND: Final = 2**22


class Processor:
    """The base class that processors are written against: it passes poses on and saves nothing."""

    def __init__(self, **kwargs: Any) -> None:
        pass

    def process(self, pose: Any, **_: Any) -> Any:
        """Return the pose."""
        return pose

    def save(self, file: str = "") -> int:  # noqa: ARG002 - the name that subclasses call it by
        """Save nothing; 0 is what says so."""
        return 0


def stand_in_modules() -> dict[str, ModuleType]:
    """Return ``dlclive`` with no more than its `Processor`; none where the real one can be imported."""
    try:
        import_module("dlclive.processor")
    except Exception:  # without TensorFlow or PyTorch, the real one may fail in any way
        names = ("dlclive", "dlclive.processor", "dlclive.processor.processor")
        modules = {name: ModuleType(name, NOTE) for name in names}
        for module in modules.values():
            vars(module)["Processor"] = Processor
        vars(modules["dlclive"])["processor"] = modules["dlclive.processor"]
        vars(modules["dlclive.processor"])["processor"] = modules["dlclive.processor.processor"]
        return modules
    return {}


class PoseTime:
    """The module ``time`` as a processor sees it: while it handles a pose, now is when that pose was decided.

    So what it computes depends on the poses alone, live and in a replay. Outside of `at`, and in other threads, all is
    as ever. Times of day are those of the server's monotonic clock, moved by an offset that is read once.
    """

    def __init__(self) -> None:
        self._offset_ticks = _ticks(time.time_ns() - now_ns())
        self._thread: int | None = None
        self._now_ticks = 0
        self.module = ModuleType("time", time.__doc__)
        vars(self.module).update({name: value for name, value in vars(time).items() if not name.startswith("__")})
        vars(self.module)["time"] = self._instead_of(time.time, lambda: self._now_ticks / _TICKS_A_SECOND)
        vars(self.module)["time_ns"] = self._instead_of(time.time_ns, lambda: _nanoseconds(self._now_ticks))
        for name in ("monotonic", "perf_counter"):
            seconds, whole = getattr(time, name), getattr(time, f"{name}_ns")
            vars(self.module)[name] = self._instead_of(seconds, lambda: self._since_start() / _TICKS_A_SECOND)
            vars(self.module)[f"{name}_ns"] = self._instead_of(whole, lambda: _nanoseconds(self._since_start()))

    def of_day(self, clock_ns: int) -> float:
        """Return the time of day of a moment of the server's clock, in seconds as ``time.time()`` gives them."""
        return (_ticks(clock_ns) + self._offset_ticks) / _TICKS_A_SECOND

    def begin(self, clock_ns: int) -> None:
        """From now on it is this moment of the server's clock, for the calling thread, until `end`."""
        self._now_ticks = _ticks(clock_ns) + self._offset_ticks
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Let time go on."""
        self._thread = None

    def _since_start(self) -> int:
        return self._now_ticks - self._offset_ticks

    def _instead_of(self, real: Callable[[], Any], stopped: Callable[[], Any]) -> Callable[[], Any]:
        def now() -> Any:
            return stopped() if self._thread == threading.get_ident() else real()

        return now


def _ticks(nanoseconds: int) -> int:
    return (nanoseconds * _TICKS_A_SECOND + 500_000_000) // 1_000_000_000


def _nanoseconds(ticks: int) -> int:
    return ticks * 1_000_000_000 // _TICKS_A_SECOND
