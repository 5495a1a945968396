"""The events of a log as a table, one row a decision, command or other event."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final, TextIO

from poseloop_server.record.entries import (
    Armed,
    DecisionEntry,
    Ended,
    Entry,
    Header,
    Lost,
    ModelSwapped,
    OutcomeEntry,
    Problem,
    StreamClosed,
    StreamOpened,
)
from poseloop_server.record.reader import Log

COLUMNS: Final = (
    *("time_s", "utc", "kind", "stream", "trigger", "edge", "fired", "reason", "sequence", "output", "number"),
    *("status", "captured_ns", "decided_ns", "sent_ns", "acknowledged_ns", "values", "actions"),
)
"""Of `event_rows`: ``time_s`` is seconds since the start; ``actions`` is a list, since one output may be given several;
what does not apply is empty."""


def write_events(log: Log, file: TextIO) -> int:
    """Write a log's events as CSV with a header, and return how many rows."""
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    rows = 0
    for rows, row in enumerate(event_rows(log.header, log.entries()), 1):  # noqa: B007
        writer.writerow(row)
    return rows


def event_rows(header: Header, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Yield a row for every entry but poses, accounts and the closing line; `COLUMNS` names the keys."""
    for entry in entries:
        if (event := _row(entry)) is not None:
            time_ns, fields = event
            since_ns = time_ns - header.started_ns
            utc = header.started_utc + timedelta(microseconds=since_ns / 1e3)
            yield {"time_s": f"{since_ns / 1e9:.6f}", "utc": utc.isoformat(), "kind": entry.kind, **fields}


def _row(entry: Entry) -> tuple[int, dict[str, Any]] | None:
    match entry:
        case DecisionEntry():
            fields = entry.model_dump(mode="json", exclude={"kind", "commands", "values"}, exclude_none=True)
            fields["values"] = json.dumps(entry.values, ensure_ascii=False)
            fields["actions"] = json.dumps([{each.output: each.action} for each in entry.commands], ensure_ascii=False)
            return entry.decided_ns, fields
        case OutcomeEntry():
            fields = entry.model_dump(mode="json", exclude={"kind", "message"}, exclude_none=True)
            return entry.sent_ns or entry.decided_ns, {**fields, "reason": entry.message}
        case Armed():
            return entry.time_ns, {"stream": entry.stream, "trigger": entry.trigger, "status": _armed(entry.armed)}
        case Ended() | StreamClosed():
            return entry.time_ns, {"stream": entry.stream, "reason": entry.reason}
        case StreamOpened() | ModelSwapped():
            return entry.time_ns, {"stream": entry.stream, "reason": f"{entry.model} {entry.model_sha256[:12]}"}
        case Problem():
            return entry.time_ns, {"reason": f"{entry.where}: {entry.message}"}
        case Lost():
            return entry.from_ns, {"reason": f"{sum(entry.entries.values())} entries are not in the log"}
    return None


def _armed(armed: bool) -> str:
    return "armed" if armed else "disarmed"
