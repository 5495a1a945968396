"""A rehearsal as JSON and as CSV, in the words of an experiment's log."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from poseloop.errors import InvalidInputError

from poseloop_server.record.encode import decision_line
from poseloop_server.rehearse.compare import Pair
from poseloop_server.rehearse.outcome import Outcome
from poseloop_server.rehearse.run import Event, Rehearsal
from poseloop_server.rehearse.summary import summaries

COLUMNS: Final = (
    *("configuration", "captured_s", "decided_s", "stream", "trigger", "edge", "fired", "reason", "sequence"),
    *("captured_ns", "decided_ns", "values", "actions"),
)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return all that came of a run as JSON's types."""
    first, *others = outcome.rehearsals
    content = {
        "recording": outcome.recording,
        "remarks": list(outcome.remarks),
        "latency_ms": outcome.latency_ms,
        **asdict(outcome.result),
        **_rehearsal(first),
    }
    for other in others:
        content |= {"against": _rehearsal(other), "comparison": _comparison(outcome.pairs(), outcome.tolerance_ms)}
    return content


def _rehearsal(rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "configuration": rehearsal.config.source.file,
        "experiment": rehearsal.config.experiment,
        "stream": rehearsal.stream,
        "triggers": [asdict(summary) for summary in summaries(rehearsal)],
        "events": list(events(rehearsal)),
        "problems": rehearsal.problems,
        "stage_failures": rehearsal.stage_failures,
    }


def events(rehearsal: Rehearsal) -> Iterator[dict[str, Any]]:
    """Yield each decision as the log of an experiment would have it, with the time that its frame was captured."""
    for event in rehearsal.events:
        yield _event(rehearsal, event)


def _comparison(pairs: Sequence[Pair], tolerance_ms: float) -> dict[str, Any]:
    return {
        "tolerance_ms": tolerance_ms,
        "both": sum(pair.later_ns is not None for pair in pairs),
        "only_first": sum(pair.second is None for pair in pairs),
        "only_second": sum(pair.first is None for pair in pairs),
        "pairs": [
            {
                "trigger": pair.trigger,
                "edge": pair.edge,
                "first": _place(pair.first),
                "second": _place(pair.second),
                "later_ns": pair.later_ns,
            }
            for pair in pairs
        ],
    }


def write_csv(path: Path, rehearsals: Sequence[Rehearsal]) -> None:
    """Write every event as one row.

    Raises:
        InvalidInputError: the file can't be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for rehearsal in rehearsals:
                writer.writerows(_row(rehearsal, event) for event in events(rehearsal))
    except OSError as error:
        raise InvalidInputError(f"the table {path} can't be written: {error.strerror}; name another") from None


def _row(rehearsal: Rehearsal, event: dict[str, Any]) -> dict[str, Any]:
    return {
        **event,
        "configuration": rehearsal.config.source.file,
        "captured_s": f"{event['captured_ns'] / 1e9:.6f}",
        "decided_s": f"{event['decided_ns'] / 1e9:.6f}",
        "values": json.dumps(event["values"], ensure_ascii=False),
        "actions": json.dumps([{one["output"]: one["action"]} for one in event["commands"]], ensure_ascii=False),
    }


def _event(rehearsal: Rehearsal, event: Event) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(decision_line(rehearsal.stream, event.frame, event.decided_ns, event.decision))
    del line["kind"]
    return {"captured_ns": event.captured_ns, **line}


def _place(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {"sequence": event.frame, "decided_ns": event.decided_ns, "fired": event.decision.fired}
