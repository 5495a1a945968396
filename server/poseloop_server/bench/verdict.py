"""Whether a server that was watched for some time grew: robust slopes, and the last minute against the first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poseloop_server.bench.watch import Sample

MINUTE_S: Final = 60.0
MEMORY_GROWTH: Final = 0.02  # of what it holds: more in an hour, or from the first minute to the last, is growth
AGE_GROWTH: Final = 0.10  # of the first minute's
# The first minute is warm-up of memory, so less than a few minutes tell nothing.
_LEAST_MINUTES: Final = 3.0
# The robust regression looks at every pair of points.
_MOST_POINTS: Final = 400


@dataclass(frozen=True, slots=True)
class Moment:
    """What one interval showed.

    Attributes:
        sample: of the server's process, at its end.
        ages_ms: captured to published, of all its poses.
        dropped: frames of all streams since the beginning.
        published: likewise.
    """

    sample: Sample
    ages_ms: NDArray[np.float64]
    dropped: int
    published: int

    def to_json(self) -> dict[str, Any]:
        """Return the published form; ages are None in an interval without poses."""
        known = len(self.ages_ms) > 0
        p50, p99 = np.percentile(self.ages_ms, [50, 99]).tolist() if known else (None, None)
        return {
            "at_s": self.sample.at_s,
            "memory_mib": round(self.sample.memory_mib, 3),
            "threads": self.sample.threads,
            "handles": self.sample.handles,
            "age_p50_ms": p50 and round(p50, 4),
            "age_p99_ms": p99 and round(p99, 4),
            "published": self.published,
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether anything grew. Slopes are Theil and Sen's: the median over all pairs of samples, deaf to outliers.

    Attributes:
        memory_mib: that it held, its median after the first minute.
        memory_per_hour_mib, threads_per_hour, handles_per_hour: growth after the first minute, by regression.
        memory_ratio: median of the last minute by that of the first one after warm-up.
        threads, handles: most in that first minute, most in the last.
        age_p99_ms: in the first minute without its first second, in the last.
        long_enough: whether the soak lasted long enough to tell.
    """

    memory_mib: float
    memory_per_hour_mib: float
    threads_per_hour: float
    handles_per_hour: float
    memory_ratio: float
    threads: tuple[int, int]
    handles: tuple[int, int]
    age_p99_ms: tuple[float, float]
    long_enough: bool

    @property
    def findings(self) -> dict[str, bool]:
        """What was looked at, and whether it stayed as it was."""
        return {
            "memory": self.memory_per_hour_mib <= MEMORY_GROWTH * self.memory_mib
            and self.memory_ratio <= 1 + MEMORY_GROWTH,
            "threads": self.threads[1] <= self.threads[0],
            "handles": self.handles[1] <= self.handles[0],
            "age": self.age_p99_ms[1] <= self.age_p99_ms[0] * (1 + AGE_GROWTH),
        }

    @property
    def steady(self) -> bool | None:
        """Whether nothing grew; None where the soak was too short to tell."""
        return all(self.findings.values()) if self.long_enough else None

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "steady": self.steady,
            "findings": self.findings if self.long_enough else None,
            "memory_per_hour_mib": round(self.memory_per_hour_mib, 3),
            "threads_per_hour": round(self.threads_per_hour, 3),
            "handles_per_hour": round(self.handles_per_hour, 3),
            "memory_last_minute_by_first": round(self.memory_ratio, 4),
            "threads_first_last": list(self.threads),
            "handles_first_last": list(self.handles),
            "age_p99_first_last_ms": [None if math.isnan(age) else round(age, 4) for age in self.age_p99_ms],
        }


def verdict_of(moments: list[Moment]) -> Verdict:
    """Compare the last minute with the first one, and look for a slope over all that is after warm-up."""
    end_s = moments[-1].sample.at_s
    long_enough = end_s >= (_LEAST_MINUTES - 0.5) * MINUTE_S
    after_s = MINUTE_S if long_enough else 0.0
    settled = [moment.sample for moment in moments if moment.sample.at_s > after_s]
    first = [sample for sample in settled if sample.at_s <= after_s + MINUTE_S]
    last = [sample for sample in settled if sample.at_s > end_s - MINUTE_S]
    at_s = np.array([sample.at_s for sample in settled])
    memory = np.array([sample.memory_mib for sample in settled])
    return Verdict(
        memory_mib=float(np.median(memory)),
        memory_per_hour_mib=slope_per_hour(at_s, memory),
        threads_per_hour=slope_per_hour(at_s, np.array([float(sample.threads) for sample in settled])),
        handles_per_hour=slope_per_hour(at_s, np.array([float(sample.handles) for sample in settled])),
        memory_ratio=float(np.median([one.memory_mib for one in last]) / np.median([one.memory_mib for one in first])),
        threads=(max(one.threads for one in first), max(one.threads for one in last)),
        handles=(max(one.handles for one in first), max(one.handles for one in last)),
        age_p99_ms=(
            _age_p99([moment for moment in moments if moment.sample.at_s <= MINUTE_S]),
            _age_p99([moment for moment in moments if moment.sample.at_s > end_s - MINUTE_S]),
        ),
        long_enough=long_enough,
    )


def slope_per_hour(at_s: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return the median slope over all pairs of points (Theil 1950, Sen 1968); 0 for a single point.

    Of many points, medians of neighbours stand for them.
    """
    if len(at_s) < 2:
        return 0.0
    groups = min(len(at_s), _MOST_POINTS)
    times = np.array([np.median(part) for part in np.array_split(at_s, groups)])
    levels = np.array([np.median(part) for part in np.array_split(values, groups)])
    i, j = np.triu_indices(groups, 1)
    return float(np.median((levels[j] - levels[i]) / (times[j] - times[i]))) * 3600


def _age_p99(moments: list[Moment]) -> float:
    ages = np.concatenate([moment.ages_ms for moment in moments]) if moments else np.array([])
    return float(np.percentile(ages, 99)) if len(ages) else math.nan
