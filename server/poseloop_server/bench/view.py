"""Shows measurements as tables."""

from __future__ import annotations

from typing import Any

from poseloop.types import Percentiles
from rich.console import Console
from rich.table import Table

from poseloop_server.bench.latency import LatencyResult
from poseloop_server.bench.loop import LoopResult
from poseloop_server.bench.peer import PeerResult
from poseloop_server.bench.rig import WARM_UP_S
from poseloop_server.bench.scaling import ScalingResult
from poseloop_server.bench.soak import SoakResult
from poseloop_server.bench.verdict import Moment

_STAGE_WORDS = {
    "ingest": "  captured to received by the server",
    "wait": "  received to inference started",
    "inference": "  inference",
    "publish": "  inference ended to published",
    "deliver": "  published to received by the subscriber",
}


def show_latency(result: LatencyResult, console: Console) -> None:
    """Print the measurement, what it ran on, and what was lost."""
    run, together = result.run, result.run.together
    table = _table(_title(result.conditions, result.traffic.streams), "milliseconds", "p50", "p95", "p99", "max")
    _row(table, "bare inference, in a process of its own", result.inference)
    _row(table, "captured to received by the subscriber", together.end_to_end)
    for stage, values in run.stages.items():
        _row(table, f"[dim]{_STAGE_WORDS[stage]}[/]", values)
    _row(table, "[bold]overhead: end to end less the median bare inference[/]", result.overhead)
    _row(table, "  the same from captured to published", result.overhead_published)
    console.print(table)
    if len(run.streams) > 1:
        _show_streams(result, console)
    places = ", ".join(f"{place} {count}" for place, count in together.by_place.items() if count)
    lost = "[green]nothing dropped[/]" if not together.dropped else f"[red]{together.dropped} dropped[/] ({places})"
    console.print(
        f"{together.sent} frames sent, {together.published} published, {lost}; {together.received} poses received, "
        f"{together.counted} counted (the first {WARM_UP_S:g} s is warm-up)"
    )
    if not all(stream.whole for stream in run.streams):
        console.print("[bold red]The accounts do not balance: frames are neither published nor counted as dropped.[/]")
    memory = result.server["memory_mib"]
    console.print(
        f"{run.sent_per_second:.4g} frames a second, {100 * result.load:.0f} % of what the bare inference "
        f"can do; the server held {memory['first']:.0f} MiB at first, {memory['last']:.0f} at last"
    )
    _show_conditions(result.conditions, console)


def show_loop(result: LoopResult, console: Console) -> None:
    """Print the loop's latency, and how often it answered."""
    title = _title(result.conditions, 1)
    table = _table(title, "milliseconds", "p50", "p95", "p99", "max")
    _row(table, "bare inference, in a process of its own", result.inference)
    _row(table, "captured to the byte at the serial port", result.latency)
    _row(table, "[bold]overhead: the same less the median bare inference[/]", result.overhead)
    console.print(table)
    false = result.false_alarms
    console.print(
        f"{result.fired} of {result.trials} steps answered, {_bad(result.missed, 'missed')}, {_bad(false, 'false')}; "
        f"{result.account['sent']} frames sent, {result.account['dropped']} dropped; record "
        f"{'on' if result.conditions['record'] else 'off'}"
    )
    _show_conditions(result.conditions, console)


def _bad(count: int, word: str) -> str:
    return f"[red]{count} {word}[/]" if count else f"[green]0 {word}[/]"


def _show_streams(result: LatencyResult, console: Console) -> None:
    table = _table(
        "by stream; age: captured to published", "stream", "sent", "published", "dropped", "age p50", "age p99"
    )
    for stream in result.run.streams:
        ages = (stream.age.p50, stream.age.p99) if stream.age else ()
        counts = (stream.sent, stream.published, stream.dropped)
        table.add_row(stream.name, *map(str, counts), *(f"{age:.2f}" for age in ages))
    console.print(table)


def show_scaling(result: ScalingResult, console: Console) -> None:
    """Print a row for each number of streams."""
    table = _table(
        _title(result.conditions),
        *("streams", "load", "p50", "p99", "fair", "outbox", "mailbox", "other", "MiB"),
    )
    for point in result.points:
        places = point.run.together.by_place
        table.add_row(
            str(point.streams),
            f"{100 * result.load(point):.0f} %",
            f"{point.age.p50:.2f}",
            f"{point.age.p99:.2f}",
            f"{point.run.fairness:.3f}",
            str(places["dropped_outbox"]),
            str(places["dropped_mailbox"]),
            str(places["failed"] + places["lost_connection"]),
            f"{point.memory_mib:.0f}",
        )
    console.print(table)
    console.print(
        "[dim]p50, p99: age, milliseconds from captured to published; load: of what the bare inference can do; fair: "
        "poses of the stream served least by those of the one served most; frames dropped in the client's outbox, in "
        "the server's mailbox, or lost with a connection or failed[/]"
    )
    _show_conditions(result.conditions, console)


def show_peer(result: PeerResult, console: Console) -> None:
    """Print two rows for each number of cameras."""
    table = _table(_title(result.conditions), "cameras", "", "p50", "p95", "p99", "max", "dropped")
    for point in result.points:
        naive, served = point.naive, point.served.together
        for first, name, age, frames, dropped in (
            (str(point.streams), "naive loop", naive.age, naive.printed + naive.dropped, naive.dropped),
            ("", "poseloop", point.served_age, served.sent, served.dropped),
        ):
            times = (f"{value:.2f}" for value in (age.p50, age.p95, age.p99, age.max))
            table.add_row(first, name, *times, f"{dropped} of {frames}")
        table.add_section()
    console.print(table)
    drift = result.conditions["drift"]
    clocks = f"each camera {100 * drift:g} % slower than the one before" if drift else "one clock for all cameras"
    console.print(
        f"[dim]milliseconds from captured to printed; bare inference {result.inference.p50:.2f}; the naive loop is one "
        f"process with {result.conditions['naive_session']}, its cameras' drivers hold {result.conditions['buffers']} "
        f"frames each; {clocks}[/]"
    )
    _show_conditions(result.conditions, console)


def moment_line(moment: Moment) -> str:
    """Return one interval of a soak as a line."""
    values = moment.to_json()
    ages = [values["age_p50_ms"], values["age_p99_ms"]]
    p50, p99 = ("-" if age is None else f"{age:.2f}" for age in ages)
    return (
        f"{values['at_s']:7.0f} s  {values['memory_mib']:8.2f} MiB  {values['threads']} threads  {values['handles']} "
        f"handles  age p50 {p50} p99 {p99} ms  published {values['published']}  dropped {values['dropped']}"
    )


def show_soak(result: SoakResult, console: Console) -> None:
    """Print the verdict."""
    verdict = result.verdict
    table = _table(_title(result.conditions), "", "first minute", "last minute", "growth an hour", "")
    marks = {name: "[green]steady[/]" if fine else "[bold red]grew[/]" for name, fine in verdict.findings.items()}
    if not verdict.long_enough:
        marks = dict.fromkeys(marks, "")
    table.add_row(
        "memory, MiB", "1", f"x {verdict.memory_ratio:.4f}", f"{verdict.memory_per_hour_mib:.2f}", marks["memory"]
    )
    table.add_row("threads", *map(str, verdict.threads), f"{verdict.threads_per_hour:.2f}", marks["threads"])
    table.add_row("handles", *map(str, verdict.handles), f"{verdict.handles_per_hour:.2f}", marks["handles"])
    table.add_row("age p99, ms", *(f"{age:.2f}" for age in verdict.age_p99_ms), "", marks["age"])
    console.print(table)
    if not verdict.long_enough:
        console.print("[yellow]Too short to tell: the first minute is warm-up; give it 3 --minutes or more.[/]")
    _show_conditions(result.conditions, console)


def _title(conditions: dict[str, Any], streams: int = 1) -> str:
    many = f"{streams} streams, each " if streams > 1 else ""
    return f"{conditions['model']}, {many}{conditions['frame']}, {conditions['frames_per_second']:.4g} frames a second"


def _show_conditions(conditions: dict[str, Any], console: Console) -> None:
    console.print(
        f"[dim]{conditions['provider']} on {conditions['device']}, {conditions['threads']} thread(s) of "
        f"{conditions['cores']} cores, {conditions['precision']}; frames by "
        f"{conditions['transport']}, poses by {conditions['poses']}[/]"
    )


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _row(table: Table, name: str, values: Percentiles | None) -> None:
    if values is not None:
        table.add_row(name, *(f"{value:.2f}" for value in (values.p50, values.p95, values.p99, values.max)))
