import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from poseloop_server.loop.decision import Decision, Edge
from poseloop_server.outputs.base import Outcome, Status
from poseloop_server.record.reader import Log
from poseloop_server.record.tables import COLUMNS, write_events

from tests.server.record.logs import Pulse, begin, command, pose


def rows_of(path: Path) -> list[dict[str, str]]:
    file = io.StringIO()
    assert write_events(Log(path), file) == file.getvalue().count("\n") - 1
    file.seek(0)
    return list(csv.DictReader(file))


def test_every_action_of_a_decision_is_in_its_row_in_order(tmp_path: Path) -> None:
    """Two lines of one device, as `on_rise: [{laser: ...}, {laser: ...}]` asks for."""
    first = command(1, 1)
    second = replace(first, number=2, action=Pulse(pulse_ms=20))
    writer = begin(tmp_path)
    writer.pose(pose(1), (Decision("near", Edge.RISE, True, "", {"speed(snout)": 3.5}, (first, second)),))
    writer.outcome(Outcome(first, Status.SENT, first.decided_ns))
    writer.close()
    decided, sent = rows_of(writer.path)
    assert tuple(decided) == COLUMNS
    actions = json.loads(decided["actions"])
    assert [list(action) for action in actions] == [["laser"], ["laser"]]
    assert [action["laser"]["pulse_ms"] for action in actions] == [10, 20]
    assert json.loads(decided["values"]) == {"speed(snout)": 3.5}
    assert (sent["kind"], sent["output"], sent["number"], sent["actions"]) == ("outcome", "laser", "1", "")
