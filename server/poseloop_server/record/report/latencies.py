"""Which commands a latency from capture to action is of, and which it would say nothing of."""

from __future__ import annotations

from typing import Any, Final

from poseloop_server.record.entries import Header, OutcomeEntry
from poseloop_server.record.report.findings import OutputCommands

NO_POSE: Final = "that no pose caused, such as falls when the stream fell silent or was closed"
LATE: Final = "that were sent after their deadline, as only what switches off is, such as once its output was back"
NO_DECISION: Final = "whose decision the log lacks"


class Latencies:
    """Adds the times of commands that were sent to those of their outputs, or counts why one is left out.

    Args:
        header: of the log, whose configuration says when the deadlines are.
    """

    def __init__(self, header: Header) -> None:
        values = header.configuration.get("values")
        outputs = values.get("outputs") if isinstance(values, dict) else None
        named = outputs.items() if isinstance(outputs, dict) else ()
        self._deadline_ns = {name: deadline for name, config in named if (deadline := _deadline_ns(config)) is not None}

    def add(self, output: OutputCommands, outcome: OutcomeEntry, by_pose: bool | None) -> None:
        """Take in a command.

        Args:
            output: that it was for.
            outcome: of the command; nothing is done with one that was not sent.
            by_pose: whether a pose was the cause; None: the log does not say.
        """
        if outcome.sent_ns is None:
            return
        if why := self._why_not(outcome, outcome.sent_ns, by_pose):
            output.left_out[why] += 1
            return
        output.sent_at_ns.append(outcome.sent_ns)
        output.to_decided.append((outcome.decided_ns - outcome.captured_ns) / 1e6)
        output.to_sent.append((outcome.sent_ns - outcome.captured_ns) / 1e6)
        if outcome.acknowledged_ns is not None:
            output.to_acknowledged.append((outcome.acknowledged_ns - outcome.captured_ns) / 1e6)

    def _why_not(self, outcome: OutcomeEntry, sent_ns: int, by_pose: bool | None) -> str:
        if by_pose is None:
            return NO_DECISION
        if not by_pose:
            return NO_POSE  # it carries the capture of the last pose, however long ago that was
        deadline_ns = self._deadline_ns.get(outcome.output)
        return LATE if deadline_ns is not None and sent_ns - outcome.decided_ns > deadline_ns else ""


def _deadline_ns(config: Any) -> float | None:
    deadline_ms = config.get("deadline_ms") if isinstance(config, dict) else None
    return deadline_ms * 1e6 if isinstance(deadline_ms, int | float) else None
