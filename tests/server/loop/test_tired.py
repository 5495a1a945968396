# ruff: noqa: E501 - the sentences stand whole
"""What is written late at night: each mistake is one sentence with its line and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.loop.compiled import compile_stream
from poseloop_server.loop.config import load_loop

GOOD = """\
experiment: corner-reward
outputs:
  bell: {type: osc, port: 9001}
streams:
  cam0:
    stages:
      - one_euro: {}
    zones:
      left: {circle: {center: [0.1, 0.1], radius: 0.08}, unit: fraction}
    triggers:
      reward:
        when: snout in left and speed(snout) > 3 px/s
        hold_ms: 100
        probability: 0.5
        on_rise: {bell: {address: /on}}
"""
RULE = "12:%d: streams.cam0.triggers.reward.when: "
WHEN = "when: snout in left and speed(snout) > 3 px/s"
HOLD = "13: streams.cam0.triggers.reward.hold_ms: "

MISTAKES = [
    ("  cam0:", "  *:", "5: this is not valid YAML: a name that begins with * needs quotes, as in `\"*\":`"),
    ("  cam0:", "  cam*:", '5: streams.cam*: no stream can have this name; use up to 64 letters, digits, dots, dashes and underscores, or "*" for any other stream'),
    (WHEN, 'when: "tail tip" in left', "12: this is not valid YAML: a text that begins with a quotation mark needs others around the whole of it, as in '\"tail tip\" in nest'"),
    (WHEN, "when: > 3 px/s", "12: this is not valid YAML: a text that begins with > needs quotes around the whole of it"),
    (WHEN, "when:", "12: streams.cam0.triggers.reward.when: nothing is given, but a text is needed"),
    (WHEN, "when: [snout in left]", "12: streams.cam0.triggers.reward.when: a list is given, but a text is needed"),
    ("> 3 px/s", "> 3 px", RULE % 48 + "speed(snout) is in px/s and 3 px in px, so they can't be compared or added; write 3 px/s"),
    ("> 3 px/s", "> 3,5 px/s", RULE % 49 + "',' is not expected here; numbers have a point, as in 3.5"),
    ("and speed", "AND speed", RULE % 29 + "'AND' is written in small letters"),
    ("snout in left and", "“snout” in left and", RULE % 15 + "'“' is not understood here: the quotation marks are \" and '"),
    ("speed(snout) > 3 px/s", "motion_energy > 3", RULE % 33 + "motion_energy comes from the stage of that name; add `- motion_energy: {}` to the stream's stages"),
    ("hold_ms: 100", "hold_ms: 100 ms", HOLD + "'100 ms' is not a number; write the number alone, in ms"),
    ("hold_ms: 100", "hold_ms: 0,1", HOLD + "'0,1' is not a number; write a point, not a comma"),
    ("hold_ms: 100", "hold_ms: on", HOLD + "true is not a number"),
    ("hold_ms: 100", "hold_ms: 0100", HOLD + "YAML reads 0100 as another number; write it with digits alone, no 0 first and no `:`"),
    ("hold_ms: 100", "hold_ms: 10:00", HOLD + "YAML reads 10:00 as another number; write it with digits alone, no 0 first and no `:`"),
    ("hold_ms: 100", "hold_ms 100", "13: this is not valid YAML: a `:` with a blank behind it is missing, as in `hold_ms: 100`"),
    ("        hold_ms: 100", "\u00a0       hold_ms: 100", "13: this is not valid YAML: there is a non-breaking blank, which looks like a blank and is none; write blanks instead"),
    ("        hold_ms: 100", "        at_most: 6", "13: streams.cam0.triggers.reward.at_most: 6 is given, but `key: value` lines are needed, with in_all, per_minute"),
    ("probability: 0.5", "probability: 50%", "14: streams.cam0.triggers.reward.probability: '50%' is not a number; write 0.5"),
    ("probability: 0.5", "probability: yes", "14: streams.cam0.triggers.reward.probability: true is not a number"),
    ("on_rise: {bell: {address: /on}}", "on_rise: bell", "15: streams.cam0.triggers.reward.on_rise: actions are written as `OUTPUT: {...}`, such as `laser: {pulse_ms: 10}`"),
    ("address: /on", "address: on it", "15: streams.cam0.triggers.reward.on_rise.bell.address: 'on it' has to begin with / and to hold no blanks"),
    ("{address: /on}}", "{address: /on}", "15: this is not valid YAML: the { of this line is not closed, or a comma or a quotation mark is missing behind it"),
    ("{address: /on}}", '{address: "/on}}', "15: this is not valid YAML: the quotation mark that is opened here is not closed"),
    ("streams:", "record:\nstreams:", "4: record: the folder of the record is missing; give one, such as `records`, or say `off`"),
    ("streams:", "record: on\nstreams:", "4: record: the folder of the record is missing; give one, such as `records`, or say `off`"),
    ("{type: osc, port: 9001}", "{type: serial, port: x, watchdog: 5}", "3: outputs.bell.watchdog: the key 'watchdog' is unknown; did you mean 'watchdog_ms'?"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "sentence"), MISTAKES, ids=[wrong.strip() for _, wrong, _ in MISTAKES])
def test_a_mistake_is_one_sentence(tmp_path: Path, right: str, wrong: str, sentence: str) -> None:
    assert right in GOOD
    path = tmp_path / "rig.yaml"
    path.write_text(GOOD.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(InvalidInputError) as refusal:
        compile_stream(load_loop(path), "cam0", ("snout", "tail tip"))
    assert str(refusal.value).splitlines()[0] == f"{path}:{sentence}"
