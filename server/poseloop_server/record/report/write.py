"""Writes the report of a log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError

from poseloop_server.record.reader import Log
from poseloop_server.record.report.collect import collect
from poseloop_server.record.report.findings import Findings
from poseloop_server.record.report.page import page_of


def write_report(log: Path, page: Path) -> dict[str, Any]:
    """Write the page, and return what a program may want of it: counts, by name.

    Raises:
        InvalidInputError: the log can't be read, or the page can't be written.
    """
    found = collect(Log(log))
    try:
        page.write_text(page_of(found, log.name), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"the page {page} can't be written: {error.strerror}; name another") from None
    return _summary(found)


def _summary(found: Findings) -> dict[str, Any]:
    triggers = found.triggers.values()
    return {
        "experiment": found.header.experiment,
        "poses": found.poses,
        "fired": sum(len(one.fired_ns) for one in triggers),
        "shams": sum(len(one.sham_ns) for one in triggers),
        "suppressed": sum(one.reasons.total() for one in triggers),
        "commands": sum(output.statuses.total() for output in found.outputs.values()),
        "undelivered": len(found.undelivered),
        "lost": found.lost,
        "torn": found.torn,
        "closed": found.closed is not None,
    }
