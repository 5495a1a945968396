"""The page of a report: its tables and words, with the pictures in their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from html import escape
from typing import Final

import numpy as np

from poseloop_server.outputs.base import Status
from poseloop_server.record.report.collect import MOST_PROBLEMS
from poseloop_server.record.report.figures import TimeAxis, age_figure, events_figure, latency_figure, places_figure
from poseloop_server.record.report.findings import Findings, TriggerEvents
from poseloop_server.record.report.places import LEAST_CONFIDENCE, LEAST_LONGEST_S, USUAL_INTERVALS
from poseloop_server.record.report.style import SHEET

_DELIVERED: Final = (Status.SENT.value, Status.ACKNOWLEDGED.value)


def page_of(found: Findings, file: str) -> str:
    """Return the page as HTML that needs nothing from anywhere.

    Args:
        found: what the log holds.
        file: the log's name.
    """
    axis = TimeAxis.of(found)
    parts = [
        _head(found, file),
        _tiles(found),
        _section("Latency from capture to action", _latency(found, axis)),
        _section("Triggers", _triggers(found)),
        _section("Events", _events(found, axis)),
        *(_section(f"Zones and places: {stream}", _places(found, stream)) for stream in found.places),
        _section("Frames", _frames(found, axis)),
        _section("What else happened", _remarks(found, axis)),
        _section("How it was run", _origin(found)),
    ]
    title = escape(found.header.experiment)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{SHEET}</style></head>\n'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>\n"


def _head(found: Findings, file: str) -> str:
    header = found.header
    length = timedelta(seconds=round((found.last_ns - header.started_ns) / 1e9))
    ended = f"It ended in order{_colon(found.closed.reason)}." if found.closed else ""
    if found.torn:
        ended = "The log's last line is not whole: the process ended while it was written."
    elif not found.closed:
        ended = "The log has no closing line: the process ended before the experiment did, or it still runs."
    warning = "soft" if found.closed else "bad"
    return (
        f"<h1>{escape(header.experiment)}</h1><p class=soft>{header.started_utc:%Y-%m-%d %H:%M:%S} UTC, {length} long, "
        f"from {escape(file)}</p><p class={warning}>{escape(ended)}</p>"
    )


def _tiles(found: Findings) -> str:
    triggers = found.triggers.values()
    statuses = [output.statuses for output in found.outputs.values()]
    commands = sum(each.total() for each in statuses)
    undelivered = commands - sum(each[name] for each in statuses for name in _DELIVERED)
    latencies = [value for output in found.outputs.values() for value in output.to_sent]
    tiles = [
        (f"{found.poses:,}", "poses", False),
        (f"{sum(len(one.fired_ns) for one in triggers):,}", "times fired", False),
        (f"{sum(len(one.sham_ns) for one in triggers):,}", "shams", False),
        (f"{sum(one.reasons.total() for one in triggers):,}", "suppressed", False),
        (f"{np.percentile(latencies, 50):.2f} ms" if latencies else "–", "capture to sent, median", False),
        (f"{undelivered:,} of {commands:,}", "commands not delivered", undelivered > 0),
        (f"{_missing(found):,}", "frames without a pose", False),
        (f"{found.lost:,}", "log entries lost", found.lost > 0),
    ]
    boxes = (f'<div class="tile{" bad" * bad}"><b>{value}</b><span>{words}</span></div>' for value, words, bad in tiles)
    return f"<div class=tiles>{''.join(boxes)}</div>"


def _latency(found: Findings, axis: TimeAxis) -> str:
    rows = []
    for name, output in found.outputs.items():
        for words, values in (
            ("capture to decided", output.to_decided),
            ("capture to sent", output.to_sent),
            ("capture to acknowledged", output.to_acknowledged),
        ):
            if values:
                rows.append([name, words, *_percentiles(np.array(values))])
    left_out = sum((output.left_out for output in found.outputs.values()), Counter[str]())
    if not rows and not left_out:
        return "<p class=soft>No command was sent.</p>"
    uncertain = max((stream.clock_uncertainty_ns for stream in found.streams.values()), default=0)
    note = f" Captures of another computer are off by no more than {uncertain / 1e6:.2f} ms." if uncertain else ""
    others = "".join(f"; nor {count:,} {why}" for why, count in sorted(left_out.items()))
    words = (
        "<p class=soft>Sent is when the bytes were handed to the system; acknowledged is when the output's answer was "
        f"read, where it gives one. Commands that were not delivered are not in here{escape(others)}.{note}</p>"
    )
    if not rows:
        return words
    table = _table(["output", "", "commands", "p50 (ms)", "p95 (ms)", "p99 (ms)", "max (ms)"], rows, 2)
    return f"{words}{table}<figure>{latency_figure(found, axis)}</figure>"


def _triggers(found: Findings) -> str:
    if not found.triggers:
        return "<p class=soft>There were no triggers.</p>"
    columns = [
        "stream",
        "trigger",
        "fired",
        "shams",
        "suppressed",
        "repeats",
        "active (s)",
        "why suppressed",
        "commands",
    ]
    rows = [[stream, name, *_trigger(events)] for (stream, name), events in found.triggers.items()]
    outputs = [[name, _counts(output.statuses)] for name, output in found.outputs.items()]
    table = _table(columns, rows, 2, 7)
    return table + (_table(["output", "commands"], outputs, 2) if outputs else "")


def _trigger(events: TriggerEvents) -> list[str]:
    active_s = sum(until - since for since, until in events.active) / 1e9
    return [
        str(len(events.fired_ns)),
        str(len(events.sham_ns)),
        str(events.reasons.total()),
        str(events.repeats),
        f"{active_s:.1f}",
        _counts(events.reasons),
        _counts(events.commands),
    ]


def _events(found: Findings, axis: TimeAxis) -> str:
    if not found.triggers and not found.undelivered:
        return "<p class=soft>There were no events.</p>"
    return f"<figure>{events_figure(found, axis)}</figure>"


def _places(found: Findings, stream: str) -> str:
    places = found.places[stream]
    if not places.seconds or not any(places.seconds.values()):
        return "<p class=soft>No keypoint was seen.</p>"
    rows = [
        [zone, name, f"{places.entries[zone][name]}", f"{within[name]:.1f}", _share(within[name], places.seconds[name])]
        for zone, within in places.inside.items()
        for name in places.shown
    ]
    columns = ["zone", "keypoint", "came in", "inside (s)", "of the time seen"]
    table = _table(columns, rows, 2) if rows else ""
    return (
        "<p class=soft>The first animal's keypoints after the stages, where their confidence is "
        f"{LEAST_CONFIDENCE} or more; of more than four, those that conditions name. "
        f"A pose stands for the time until the next one, for {USUAL_INTERVALS} of the stream's usual intervals or "
        f"{LEAST_LONGEST_S} s at most, whichever is longer; what a pause exceeds that by is counted nowhere. "
        f"Red: where each was when a trigger fired.</p>{table}"
        f"<figure>{places_figure(found, stream)}</figure>"
    )


def _frames(found: Findings, axis: TimeAxis) -> str:
    if not found.poses:
        return "<p class=soft>There were no poses.</p>"
    rows = []
    for name, stream in found.streams.items():
        ages = np.array(stream.age_ms)
        counted = {
            key: count for key, count in stream.counters.items() if key.startswith(("dropped", "lost", "failed"))
        }
        rows.append(
            [
                *(name, f"{ages.size:,}", _frames_in(stream.missing), _frames_in(stream.unlogged)),
                *(f"{stream.longest_pause_ns / 1e6:,.0f}", f"{stream.doubtful:,}"),
                *(_percentiles(ages)[1:] if ages.size else ["–"] * 4),
                _counts({key: count for key, count in counted.items() if count}) or "–",
            ]
        )
    columns = [
        "stream",
        "poses",
        "without",
        "not in the log",
        "longest pause (ms)",
        "doubtful",
        "age p50 (ms)",
        "p95",
        "p99",
        "max",
        "account",
    ]
    return (
        "<p class=soft>A frame without a pose is a number that is left out between two poses of one sender, also where "
        "it was away between them; the server's and the client's account, over all sessions, says where such frames "
        "were dropped. Where the log itself lost poses, as many of the numbers left out there are counted as not in "
        "the log, and the time between is no pause.</p>"
        f"{_table(columns, rows, 1, 10)}<figure>{age_figure(found, axis)}</figure>"
    )


def _remarks(found: Findings, axis: TimeAxis) -> str:
    if not found.remarks:
        return "<p class=soft>Nothing.</p>"
    rows = [[f"{axis.places([at])[0]:.3f}", text] for at, text in found.remarks]
    more = f"<p class=soft>Only the first {MOST_PROBLEMS}.</p>" if len(found.remarks) == MOST_PROBLEMS else ""
    return _table([f"time ({axis.unit})", ""], rows, 2) + more


def _origin(found: Findings) -> str:
    header = found.header
    made_by = [f"{name}: {', then '.join(one.models)}" for name, one in found.streams.items() if one.models]
    facts = [
        ("models", ", ".join(f"{model.name} {model.sha256}" for model in header.models) or "–"),
        ("streams", "; ".join(made_by) or "–"),
        ("versions", ", ".join(f"{name} {version}" for name, version in header.versions.items())),
        ("computer", header.platform),
        ("server", header.server_id or "–"),
        ("own code", ", ".join(f"{file.path} {file.sha256}" for file in header.files) or "–"),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    text = str(header.configuration.get("text", ""))
    details = f"<details><summary>Configuration</summary><pre>{escape(text)}</pre></details>" if text else ""
    return f"<dl>{listed}</dl>{details}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int, numbers_until: int = 99) -> str:
    """Return a table whose first columns, and those from ``numbers_until`` on, are words, and all others numbers."""
    sides = ["" if index < words or index >= numbers_until else " class=n" for index in range(len(columns))]
    head = "".join(f"<th{side}>{escape(column)}</th>" for column, side in zip(columns, sides, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{side}>{escape(cell)}</td>' for cell, side in zip(row, sides, strict=True))}</tr>"
        for row in rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _percentiles(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[str]:
    """Return how many there are, the 50th, 95th and 99th percentile and the largest."""
    shown = [*np.percentile(values, (50, 95, 99)), values.max()]
    return [f"{values.size:,}", *(f"{value:.2f}" for value in shown)]


def _counts(counts: object) -> str:
    items = sorted(dict(counts).items(), key=lambda item: (-item[1], item[0]))  # type: ignore[call-overload]
    return ", ".join(f"{str(name).replace('_', ' ')} {count:,}" for name, count in items)


def _frames_in(gaps: Sequence[tuple[int, int]]) -> str:
    return f"{sum(number for _, number in gaps):,}"


def _missing(found: Findings) -> int:
    return sum(number for stream in found.streams.values() for _, number in stream.missing)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _colon(text: str) -> str:
    return f": {text}" if text else ""
