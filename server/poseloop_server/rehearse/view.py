"""A rehearsal for people: a table of events, a summary of triggers, and what two rules do otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from poseloop.output import console
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poseloop_server.loop.decision import Edge
from poseloop_server.rehearse.check import StreamCheck
from poseloop_server.rehearse.compare import Pair
from poseloop_server.rehearse.outcome import Outcome
from poseloop_server.rehearse.run import Event, Rehearsal
from poseloop_server.rehearse.summary import TriggerSummary, summaries

WIDTH_OF_FILES: Final = 120
"""Of tables that go into a file or another program, which has no width of its own."""


def print_outcome(outcome: Outcome) -> None:
    """Print what triggers did, of two configurations what they do otherwise, and on the standard error how it went."""
    out = _console()
    if len(outcome.rehearsals) == 1:
        _print_events(out, outcome.rehearsals[0])
    for rehearsal in outcome.rehearsals:
        if len(outcome.rehearsals) > 1:
            out.print(rehearsal.config.source.file, style="bold", soft_wrap=True)
        out.print(_triggers(summaries(rehearsal)))
    if len(outcome.rehearsals) > 1:
        _print_comparison(out, outcome)
    _print_remarks(Console(stderr=True, highlight=False, markup=False), outcome)


def print_checks(found: Sequence[tuple[str, Sequence[StreamCheck]]], what: str) -> None:
    """Print that configurations fit a model or poses, and what is in them."""
    out = _console()
    for file, streams in found:
        out.print(f"{file} fits {what}", soft_wrap=True)
        for one in streams:
            parts = (("stages", one.stages), ("zones", one.zones), ("triggers", one.triggers))
            texts = [f"{name} {', '.join(values) or 'none'}" for name, values in parts]
            out.print(f"  stream {one.stream}: {'; '.join(texts)}", soft_wrap=True)


def _console() -> Console:
    out = console()
    if not out.is_terminal:
        out.width = max(out.width, WIDTH_OF_FILES)
    return out


def _print_remarks(stderr: Console, outcome: Outcome) -> None:
    result, latency_ms = outcome.result, outcome.latency_ms
    decided = "when it was then" if latency_ms is None else f"{latency_ms:g} ms after capture (--latency-ms)"
    stderr.print(f"{outcome.recording}; decided {decided}", soft_wrap=True)
    problems = (problem for one in outcome.rehearsals for problem in one.problems)
    for sentence in dict.fromkeys((*outcome.remarks, *problems)):
        stderr.print(sentence, style="yellow", soft_wrap=True)
    for rehearsal in outcome.rehearsals:
        for stage, poses in rehearsal.stage_failures.items():
            stderr.print(f"The stage {stage} failed on {poses} of {result.poses} poses.", style="yellow")
    if result.interrupted:
        stderr.print(f"Stopped after {result.poses} poses; this is what came of those.", style="yellow")
    stderr.print(
        f"{result.poses} poses, {result.recorded_s:.1f} s of recording, in {result.seconds:.1f} s: "
        f"{result.speed:.1f} times as fast"
    )


def _print_events(out: Console, rehearsal: Rehearsal) -> None:
    """Print what was decided, but for repeats."""
    shown = [event for event in rehearsal.events if event.decision.edge is not Edge.WHILE]
    if shown:
        out.print(_events(shown))
    else:
        out.print("No trigger would have fired, and none was held back.")
    if left := len(rehearsal.events) - len(shown):
        out.print(f"{left} repeats while conditions went on being true are not shown; --csv has them")


def _print_comparison(out: Console, outcome: Outcome) -> None:
    """Print what only one of two rules has, and how the times of what both have differ."""
    pairs, files = outcome.pairs(), [rehearsal.config.source.file for rehearsal in outcome.rehearsals]
    first, second = (Path(file).name for file in files)
    first, second = (first, second) if first != second else files
    only = [pair for pair in pairs if pair.later_ns is None]
    if only:
        table = _table("time", "frame", "trigger", "edge", "only in", "values")
        for pair in only:
            event = pair.first or pair.second
            assert event is not None, "a pair has one event at least"
            name = first if pair.first else second
            table.add_row(*_cells(event, pair.trigger), Text(name), _values(event.decision.values))
        out.print(table)
    table = _table("trigger", "edge", "in both", "median later", "most", f"only in {first}", f"only in {second}")
    for trigger, edge in dict.fromkeys((pair.trigger, pair.edge) for pair in pairs):
        table.add_row(*_counts(trigger, edge, [one for one in pairs if (one.trigger, one.edge) == (trigger, edge)]))
    if pairs:
        out.print(table)
    same = len(pairs) - len(only)
    out.print(
        f"{same} of {len(pairs)} events are in both, no more than {outcome.tolerance_ms:g} ms apart"
        if pairs
        else "Neither would have fired."
    )


def time_text(time_ns: int) -> str:
    """Return a time as ``mm:ss.mmm``."""
    milliseconds = (abs(time_ns) + 500_000) // 1_000_000
    sign = "-" if time_ns < 0 and milliseconds else ""
    return f"{sign}{milliseconds // 60_000:02d}:{milliseconds // 1000 % 60:02d}.{milliseconds % 1000:03d}"


def _events(events: Sequence[Event]) -> Table:
    table = _table("time", "frame", "trigger", "edge", "outcome", "values", "commands")
    for event in events:
        decision = event.decision
        style = "green" if decision.fired else "yellow"
        commands = ", ".join(dict.fromkeys(command.output for command in decision.commands))
        table.add_row(
            *_cells(event, decision.trigger), Text(event.outcome, style), _values(decision.values), Text(commands)
        )
    return table


def _triggers(triggers: Sequence[TriggerSummary]) -> Table:
    table = _table("trigger", "fired", "sham", "not fired", "active", "repeats", "commands")
    for one in triggers:
        suppressed = ", ".join(f"{count} {reason}" for reason, count in one.suppressed.items())
        commands = ", ".join(f"{count} {output}" for output, count in one.commands.items())
        table.add_row(
            Text(one.trigger),
            Text(str(one.fired), "green" if one.fired else ""),
            str(one.sham or ""),
            Text(suppressed, "yellow"),
            f"{one.active_s:.3f} s" if one.fired else "",
            str(one.repeats or ""),
            Text(commands),
        )
    return table


def _counts(trigger: str, edge: Edge, pairs: Sequence[Pair]) -> tuple[Text | str, ...]:
    later = sorted(pair.later_ns / 1e6 for pair in pairs if pair.later_ns is not None)
    middle = f"{later[len(later) // 2]:+.1f} ms" if later else ""
    most = f"{max(later, key=abs):+.1f} ms" if later else ""
    first = sum(pair.second is None for pair in pairs)
    second = sum(pair.first is None for pair in pairs)
    return (Text(trigger), edge.value, str(len(later)), middle, most, str(first), str(second))


def _cells(event: Event, trigger: str) -> tuple[str, str, Text, str]:
    return (time_text(event.captured_ns), str(event.frame), Text(trigger), event.decision.edge.value)


def _values(values: Mapping[str, float]) -> Text:
    return Text("  ".join(f"{text} {_number(value)}" for text, value in values.items()))


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.4g}"


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        numeric = column in ("time", "frame", "fired", "sham", "active", "repeats", "in both", "median later", "most")
        table.add_column(Text(column), justify="right" if numeric or column.startswith("only in ") else "left")
    return table
