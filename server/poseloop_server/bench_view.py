"""Shows a latency measurement as a table."""

from __future__ import annotations

from poseloop.types import Percentiles
from rich.console import Console
from rich.table import Table

from poseloop_server.bench import WARM_UP_S, LatencyResult

_STAGE_WORDS = {
    "ingest": "  captured to received by the server",
    "wait": "  received to inference started",
    "inference": "  inference",
    "publish": "  inference ended to published",
    "deliver": "  published to received by the subscriber",
}


def show_latency(result: LatencyResult, console: Console) -> None:
    """Print the measurement, what it ran on, and what was lost."""
    conditions = result.conditions
    title = f"{conditions['model']}, {conditions['frame']}, {conditions['frames_per_second']:g} frames a second"
    table = Table(title=title, title_justify="left")
    table.add_column("milliseconds")
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    _row(table, "bare inference, in a process of its own", result.inference)
    _row(table, "captured to received by the subscriber", result.end_to_end)
    for stage, values in result.stages.items():
        _row(table, f"[dim]{_STAGE_WORDS[stage]}[/]", values)
    _row(table, "[bold]overhead: end to end less the median bare inference[/]", result.overhead)
    console.print(table)
    lost = "[green]nothing dropped[/]" if not result.dropped else f"[red]{result.dropped} dropped[/]"
    console.print(
        f"{result.sent} frames sent, {result.published} published, {lost}; {result.received} poses received, "
        f"{result.counted} counted (the first {WARM_UP_S:g} s is warm-up)"
    )
    console.print(
        f"[dim]{conditions['provider']} on {conditions['device']}, {conditions['threads']} thread(s) of "
        f"{conditions['cores']} cores, {conditions['precision']}[/]"
    )


def _row(table: Table, name: str, values: Percentiles) -> None:
    table.add_row(name, *(f"{value:.2f}" for value in (values.p50, values.p95, values.p99, values.max)))
