"""The pictures of a report, each as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from poseloop_server.record.report.findings import Findings, TriggerEvents
from poseloop_server.record.report.style import BLUE, GREY, INK, LIGHT, ORANGE, PAPER, RED, SERIES
from poseloop_server.record.report.svg import WIDTH, figure_of, label, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_MANY: Final = 1500
"""From so many marks on, they are drawn as one picture of dots, so that the page stays small."""


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Seconds, minutes or hours since the start."""

    start_ns: int
    unit: str
    unit_ns: float
    end: float

    @classmethod
    def of(cls, found: Findings) -> TimeAxis:
        """Return the axis that suits a log's length."""
        length_s = (found.last_ns - found.first_ns) / 1e9
        unit, unit_s = ("s", 1) if length_s <= 180 else ("min", 60) if length_s <= 3 * 3600 else ("h", 3600)
        return cls(
            found.header.started_ns, unit, unit_s * 1e9, (found.last_ns - found.header.started_ns) / 1e9 / unit_s
        )

    def places(self, times_ns: Sequence[int] | NDArray[np.int64]) -> Array:
        """Return times of the log on this axis."""
        return (np.asarray(times_ns, np.int64) - self.start_ns) / self.unit_ns

    def label(self, axes: Axes) -> None:
        """Name the axis and set its ends."""
        margin = max(self.end, 1e-9) * 0.01
        axes.set_xlim(min(0.0, self.places([self.start_ns])[0]) - margin, max(self.end, 1e-9) + margin)
        axes.set_xlabel(f"time since the start ({self.unit})")


def latency_figure(found: Findings, axis: TimeAxis) -> str:
    """Draw the latency from capture to sending: how often which, and over time."""
    figure = figure_of(3.2)
    often, over = figure.subplots(1, 2, width_ratios=(1, 1.5))
    outputs = {name: np.array(output.to_sent) for name, output in found.outputs.items() if output.to_sent}
    together = np.concatenate(list(outputs.values()))
    most = _shown_up_to(together)
    edges = np.linspace(max(0.0, float(together.min()) * 0.9), most, 50)
    often.hist(
        [np.clip(values, None, most) for values in outputs.values()], edges, stacked=True,
        color=SERIES[: len(outputs)] if len(outputs) <= len(SERIES) else None, label=list(outputs),
    )  # fmt: skip
    for share, style in ((50, "-"), (99, "--")):
        value = float(np.percentile(together, share))
        line = often.axvline(value, color=INK, linewidth=0.9, linestyle=style, label=f"p{share}: {value:.2f} ms")
        line.set_visible(value <= most)
    label(often, "How long it took", "commands")
    often.set_xlim(edges[0], most)
    beyond = int((together > most).sum())
    often.set_xlabel("capture to sent (ms)" + (f"; the last bar: {beyond} that took longer" if beyond else ""))
    often.legend(loc="upper right")
    for color, (name, values) in zip(_colors(len(outputs)), outputs.items(), strict=True):
        times = axis.places(np.array(found.outputs[name].sent_at_ns, np.int64))
        near = values <= most
        _dots(over, times[near], values[near], color, ".")
        _dots(over, times[~near], np.full((~near).sum(), most), color, "^")
    over.set_ylim(bottom=0, top=most * 1.05)
    axis.label(over)
    label(over, "Over the experiment" + ("; ▲ took longer" if beyond else ""), "capture to sent (ms)")
    return svg_of(figure, "latency")


def age_figure(found: Findings, axis: TimeAxis) -> str:
    """Draw how old poses are when published, and how many frames have none, over time."""
    figure = figure_of(3.4)
    ages, missing = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    end = max(axis.end, 1e-9)
    edges = np.linspace(0, end, 121)
    middles = (edges[1:] + edges[:-1]) / 2
    streams = found.streams.values()
    times = axis.places(np.concatenate([np.array(stream.captured_ns, np.int64) for stream in streams]))
    age = np.concatenate([np.array(stream.age_ms, np.float64) for stream in streams])
    order = np.argsort(times, kind="stable")
    parts = np.split(age[order], np.searchsorted(times[order], edges[1:-1]))
    for share, color in ((99, ORANGE), (50, BLUE)):
        line = [float(np.percentile(part, share)) if part.size else np.nan for part in parts]
        ages.plot(middles, line, color=color, linewidth=1.3, label=f"p{share}")
    ages.set_ylim(bottom=0)
    ages.legend(loc="upper right", ncols=2)
    label(ages, "Age of poses: captured to published", "ms")
    counts = _per_bar((gap for stream in streams for gap in stream.missing), edges, axis)
    unlogged = _per_bar((gap for stream in streams for gap in stream.unlogged), edges, axis)
    missing.bar(middles, counts, end / 120, color=RED, label="frames without a pose")
    if unlogged.any():
        missing.bar(middles, unlogged, end / 120, counts, color=GREY, label="poses that the log lost")
        missing.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # beside the title, over no bar
    missing.set_ylim(0, max(1, (counts + unlogged).max()) * 1.1)
    missing.yaxis.get_major_locator().set_params(integer=True)
    label(missing, "Frames without a pose", f"per {end / 120:.2g} {axis.unit}")
    axis.label(missing)
    return svg_of(figure, "age")


def events_figure(found: Findings, axis: TimeAxis) -> str:
    """Draw what each trigger did over time, one row each, and what went wrong below."""
    many_streams = len({stream for stream, _ in found.triggers}) > 1
    rows = [
        (f"{stream}: {name}" if many_streams else name, events) for (stream, name), events in found.triggers.items()
    ]
    troubles = [row for row in _troubles(found) if row[1]]
    figure = figure_of(0.9 + 0.34 * (len(rows) + len(troubles)))
    axes = figure.subplots()
    for row, (_, events) in enumerate(rows):
        _trigger_row(axes, row, events, axis)
    for row, (_, times) in enumerate(troubles, len(rows)):
        _ticks(axes, axis.places(times), row, RED, 0.3)
    names = [name for name, _ in rows] + [name for name, _ in troubles]
    axes.set_yticks(range(len(names)), [name if len(name) <= 34 else f"{name[:33]}…" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    for color, text in ((BLUE, "fired (bar: until it was over)"), (GREY, "sham"), (ORANGE, "suppressed")):
        axes.plot([], [], color=color, linewidth=4, label=text)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axis.label(axes)
    return svg_of(figure, "events")


def places_figure(found: Findings, stream: str) -> str:
    """Draw for each keypoint how long it was where, with the zones over it."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    places = found.places[stream]
    width, height = places.size
    columns = min(len(places.shown), 2)
    rows = -(-len(places.shown) // columns)
    panel = min(WIDTH / columns - 0.5, 4.6 * width / height)
    figure = figure_of(rows * (panel * height / width + 0.55))
    ramp = LinearSegmentedColormap.from_list("time", [(*_rgb(BLUE), 0.12), (*_rgb(BLUE), 1.0)])
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    longest = max(float(cells.max(initial=0.0)) for cells in places.maps.values()) or 1.0
    for axes, name in zip(panels, places.shown, strict=False):
        cells = np.ma.masked_equal(places.maps[name], 0.0)
        picture = axes.imshow(
            cells, cmap=ramp, norm=LogNorm(min(0.01, longest / 10), longest), interpolation="nearest",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        for number, (zone, shape) in enumerate(places.shapes.items()):
            _outline(axes, shape, zone, SERIES[(number + 1) % len(SERIES)])
        where = np.array(places.fired[name], np.float64).reshape(-1, 2)
        axes.plot(*where.T, ".", color=RED, markersize=4, markeredgewidth=0, rasterized=len(where) > _MANY)
        axes.set(title=name, xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xlabel="x (px)", ylabel="y (px)")
    for axes in panels[len(places.shown) :]:
        axes.set_visible(False)
    bar = figure.colorbar(picture, ax=list(panels), shrink=0.8, pad=0.015, aspect=30)
    bar.set_label("seconds in a cell")
    bar.outline.set_visible(False)
    return svg_of(figure, f"places {stream}")


def _trigger_row(axes: Axes, row: int, events: TriggerEvents, axis: TimeAxis) -> None:
    spans = axis.places(np.array(events.active, np.int64).reshape(-1, 2))
    bars = [(float(since), float(until - since)) for since, until in spans]
    axes.broken_barh(bars, (row - 0.3, 0.6), color=BLUE, alpha=0.35, linewidth=0, rasterized=len(bars) > _MANY)
    _ticks(axes, axis.places(events.fired_ns), row, BLUE, 0.3)
    _ticks(axes, axis.places(events.sham_ns), row, GREY, 0.3)
    _ticks(axes, axis.places(events.suppressed_ns), row, ORANGE, 0.16)


def _troubles(found: Findings) -> list[tuple[str, list[int]]]:
    return [
        ("commands not delivered", [at for at, _ in found.undelivered]),
        ("frames without a pose", [at for stream in found.streams.values() for at, _ in stream.missing]),
        ("poses that the log lost", [at for stream in found.streams.values() for at, _ in stream.unlogged]),
    ]


def _per_bar(gaps: Iterable[tuple[int, int]], edges: Array, axis: TimeAxis) -> Array:
    """Return how many frames are left out in each bar."""
    times, numbers = np.array([*gaps], np.int64).reshape(-1, 2).T
    return np.histogram(axis.places(times), edges, weights=numbers)[0].astype(np.float64)


def _ticks(axes: Axes, times: Array, row: int, color: str, half: float) -> None:
    width = min(1.1, max(0.4, 300 / max(len(times), 1)))
    axes.vlines(times, row - half, row + half, color=color, linewidth=width, rasterized=len(times) > _MANY)


def _dots(axes: Axes, x: Array, y: Array, color: str, marker: str) -> None:
    axes.plot(x, y, marker, color=color, markersize=4, markeredgewidth=0, alpha=0.7, rasterized=len(x) > _MANY)


def _outline(axes: Axes, shape: Any, name: str, color: str) -> None:
    from matplotlib import patches

    if hasattr(shape, "radius"):
        patch: Any = patches.Circle(shape.center, shape.radius, fill=False, edgecolor=color, linewidth=1.6)
        top = (shape.center[0], shape.center[1] - shape.radius)
    else:
        patch = patches.Polygon(shape.corners, closed=True, fill=False, edgecolor=color, linewidth=1.6)
        top = min(shape.corners, key=lambda corner: (corner[1], corner[0]))
    axes.add_patch(patch)
    behind: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "boxstyle": "round,pad=0.15"}
    axes.annotate(
        name, top, (3, 3), textcoords="offset points", color=color, fontsize=8, fontweight="bold", bbox=behind,
        clip_on=True,
    )  # fmt: skip


def _shown_up_to(values: Array) -> float:
    """Return where an axis of durations ends: at the largest, unless few are far above the others."""
    most, usual = float(values.max()), float(np.percentile(values, 95))
    return max(most * 1.02 if most <= 3 * usual else 1.8 * usual, 1e-3)


def _colors(count: int) -> list[str]:
    return [SERIES[number % len(SERIES)] for number in range(count)]


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))  # type: ignore[return-value]
