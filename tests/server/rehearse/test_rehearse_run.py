"""What rules decide on a walk that is known frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.loop.decision import Arming, Edge
from poseloop_server.rehearse.recording import Pause, Reopened
from poseloop_server.rehearse.run import Event, Rehearsal, run
from poseloop_server.rehearse.summary import summaries
from poseloop_server.rehearse.view import time_text

from tests.server.rehearse.recordings import Walk, rule, write_rule

THERE_AND_BACK = [*range(0, 300, 10), *range(300, 0, -10)]


def rehearsed(folder: Path, walk: Walk, *changes: tuple[str, str]) -> Rehearsal:
    rehearsal = Rehearsal(rule(folder, *changes), "cam0", walk)
    run([rehearsal], walk)
    return rehearsal


def shown(events: list[Event]) -> list[tuple[int, str, str]]:
    return [(event.frame, event.decision.edge.value, event.outcome) for event in events]


def test_events_come_at_their_frames_and_commands_count_as_sent_then(tmp_path: Path) -> None:
    rehearsal = rehearsed(tmp_path, Walk(THERE_AND_BACK))
    assert shown(rehearsal.events) == [
        (10, "rise", "fired"), (21, "fall", "fired"), (40, "rise", "fired"), (51, "fall", "fired")
    ]  # fmt: skip
    first = rehearsal.events[0]
    assert (first.captured_ns, first.decided_ns) == (100_000_000, 110_000_000)
    assert [(one.output, one.action.pulse_ms, one.decided_ns) for one in first.decision.commands] == [
        ("laser", 10, 110_000_000)
    ]
    assert [event.decision.commands[0].number for event in rehearsal.events] == [1, 2, 3, 4]


def test_what_holds_fires_nothing_twice_and_says_why_not(tmp_path: Path) -> None:
    walk = Walk(THERE_AND_BACK)
    held = rehearsed(tmp_path, walk, ("when:", "refractory_ms: 5000\n        hold_ms: 50\n        when:"))
    assert shown(held.events) == [(15, "rise", "fired"), (21, "fall", "fired"), (45, "rise", "refractory")]
    (summary,) = summaries(held)
    assert (summary.fired, summary.sham, summary.suppressed) == (1, 0, {"refractory": 1})
    assert summary.active_s == pytest.approx(0.06)
    assert summary.commands == {"laser": 2}


def test_what_is_active_at_the_end_falls_there(tmp_path: Path) -> None:
    rehearsal = rehearsed(tmp_path, Walk(range(0, 150, 10)))
    assert shown(rehearsal.events) == [(10, "rise", "fired"), (14, "fall", "fired (the recording ended)")]


def test_what_is_unreliable_is_told_and_not_fired(tmp_path: Path) -> None:
    (rise,) = rehearsed(tmp_path, Walk(range(0, 300, 10)), ("when:", "confidence: 0.95\n        when:")).events
    assert (rise.frame, rise.outcome) == (10, "unreliable: snout below 0.95")
    (old,) = rehearsed(tmp_path, Walk(range(0, 300, 10), latency_ns=150_000_000)).events
    assert old.outcome == "unreliable: 150 ms old, more than 100 ms"


def test_the_same_recording_gives_the_same_events_also_with_shams(tmp_path: Path) -> None:
    walk = Walk(THERE_AND_BACK * 20)
    changes = (("when:", "probability: 0.5\n        when:"), ("    zones:", "    stages: [kalman: {}]\n    zones:"))
    first, second = (rehearsed(tmp_path, walk, *changes) for _ in range(2))
    assert first.events == second.events
    (summary,) = summaries(first)
    assert summary.fired + summary.sham >= 30
    assert summary.sham > 5


def test_repeats_are_counted(tmp_path: Path) -> None:
    while_true = "while_true: {every_ms: 30, do: {laser: {pulse_ms: 1}}}\n        when:"
    rehearsal = rehearsed(tmp_path, Walk(range(0, 300, 10)), ("when:", while_true))
    (summary,) = summaries(rehearsal)
    repeats = [event.frame for event in rehearsal.events if event.decision.edge is Edge.WHILE]
    assert repeats == [13, 16, 19]
    assert (summary.fired, summary.repeats, summary.commands) == (1, 3, {"laser": 5})


def test_arming_pauses_and_new_openings_come_as_they_came(tmp_path: Path) -> None:
    walk = Walk(range(100, 200, 10))
    rehearsal = Rehearsal(rule(tmp_path), "cam0", walk)
    items = list(walk)
    for item in (
        Arming("entered", False), Arming("of another rule", True), items[0], Arming("", True), items[1],
        Pause("a pause", 99_000_000), items[8], Pause("no pose comes any more", 99_000_000), items[9], Reopened(),
    ):  # fmt: skip
        rehearsal.take(item)
    rehearsal.finish()
    assert shown(rehearsal.events) == [
        (0, "rise", "disarmed"), (8, "rise", "fired"), (8, "fall", "fired (no pose comes any more)"),
        (9, "rise", "fired"), (9, "fall", "fired (the recording ended)"),
    ]  # fmt: skip


def test_a_run_can_be_stopped_and_ends_what_is_active(tmp_path: Path) -> None:
    walk = Walk(range(0, 300, 10))
    rehearsal = Rehearsal(rule(tmp_path), "cam0", walk)
    done: list[int] = []
    result = run([rehearsal], walk, on_pose=done.append, stop=lambda: len(done) == 15)
    assert (result.poses, result.interrupted, done[-1]) == (15, True, 15)
    assert shown(rehearsal.events) == [(10, "rise", "fired"), (14, "fall", "fired (the recording ended)")]


def test_a_failing_stage_of_the_users_is_told_once_and_fires_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def process(self, pose):\n        if pose.sequence > 5:\n            1 / 0\n"
        "        return pose\n"
    )
    stages = ("    zones:", "    stages: [python: {file: mine.py, class: Mine}]\n    zones:")
    rehearsal = rehearsed(tmp_path, Walk(range(0, 300, 10)), stages)
    assert [event.outcome for event in rehearsal.events] == ["unreliable: stage python failed"]
    (problem,) = rehearsal.problems
    assert "mine.py, line 4: ZeroDivisionError: division by zero at frame 6" in problem
    assert rehearsal.stage_failures == {"python": 24}


def test_a_processor_saves_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "laser.py").write_text(
        "from dlclive import Processor\n\nclass Laser(Processor):\n    seen = 0\n"
        "    def process(self, pose, **kwargs):\n        self.seen += 1\n        return pose\n"
        "    def save(self, file):\n        open(file, 'w').write(str(self.seen))\n        return 1\n"
    )
    stages = ("    zones:", "    stages: [deeplabcut_live: {file: laser.py, class: Laser, save: n.txt}]\n    zones:")
    rehearsal = rehearsed(tmp_path, Walk(range(0, 300, 10)), stages)
    assert len(rehearsal.events) == 2
    assert (tmp_path / "n.txt").read_text() == "30"


def test_a_stage_that_needs_pixels_is_refused_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poseloop_server.stages.one_euro import OneEuro

    monkeypatch.setattr(OneEuro, "needs_image", True, raising=False)
    path = write_rule(tmp_path, ("    zones:", "    stages: [one_euro: {}]\n    zones:"))
    with pytest.raises(InvalidInputError, match=rf"{path}:7: .*a stage looks at the pixels, and a walk has poses only"):
        rehearsed(tmp_path, Walk([0]), ("    zones:", "    stages: [one_euro: {}]\n    zones:"))


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [(0, "00:00.000"), (66_666_667, "00:00.067"), (59_999_600_000, "01:00.000"), (3_661_001_000_000, "61:01.001"),
     (-5_000_000, "-00:00.005"), (-100, "00:00.000")],
)  # fmt: skip
def test_times_are_minutes_seconds_and_milliseconds(time_ns: int, text: str) -> None:
    assert time_text(time_ns) == text
