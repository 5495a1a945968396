# ruff: noqa: E501 - the sentences stand whole
"""Configurations: what is read, and the one sentence that each mistake gives."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.loop.compiled import check_streams, compile_stream
from poseloop_server.loop.config import LoopConfig, load_loop, read_loop
from poseloop_server.loop.config_errors import InvalidConfigurationError
from poseloop_server.loop.config_json import loop_from_json, loop_to_json
from poseloop_server.loop.yaml_lines import MAX_FILE_BYTES, parse_document
from poseloop_server.outputs.base import OutputServices, OutputUnavailableError
from poseloop_server.outputs.serial_port import SerialOutput

from tests.server.loop.fakes import kinds

ROOT = Path(__file__).resolve().parents[3]
KEYPOINTS = ("snout", "ear", "tail")

GOOD = """\
experiment: corner-reward
seed: 7
record: off
outputs:
  laser: {type: serial, port: /dev/ttyACM0}
  ephys:
    type: open_ephys
streams:
  cam0:
    model: arena
    stages:
      - one_euro
      - kalman: {}
    pixels_per_cm: 12.5
    zones:
      corner: {circle: {center: [0.1, 0.1], radius: 0.08}, unit: fraction}
      nest:
        polygon: [[10, 10], [90, 10], [50, 80]]
    quantities:
      walking: speed(center)
    triggers:
      reward:
        when: snout in corner and walking > 30
        until: not snout in corner
        hold_ms: 200
        probability: 0.5
        at_most: {per_minute: 6}
        between:
          - {from_s: 60, to_s: 3600}
        on_rise: {laser: {pulse_ms: 10}}
        on_fall:
          - ephys: {message: it left}
          - laser: {state: off}
  "*": {}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "rig.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> LoopConfig:
    """What the server does at its start, where the model is known."""
    config = load_loop(write(folder, text))
    check_streams(config, {"arena": KEYPOINTS})
    return config


def test_a_configuration_is_read_with_everything_in_it(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.record_folder is None
    assert [entry.kind for entry in config.streams["cam0"].stages] == ["one_euro", "kalman"]
    assert config.stream("cam7") is config.streams["*"]
    trigger = config.streams["cam0"].triggers["reward"]
    assert [(entry.output, entry.action.line) for entry in trigger.on_rise] == [("laser", None)]
    assert [entry.output for entry in trigger.on_fall] == ["ephys", "laser"]
    assert trigger.hold_ns == 200_000_000
    assert [path[-1] for path, _ in config.actions()] == ["on_rise", "on_fall", "on_fall"]


def test_the_log_rebuilds_it(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("{state: off}", '{write: "0x01 0xFF"}'))
    again = loop_from_json(json.loads(json.dumps(loop_to_json(config))))
    assert again.model_dump() == config.model_dump()
    assert again.folder == tmp_path
    assert compile_stream(again, "cam0", KEYPOINTS).triggers[0].when.text == "snout in corner and walking > 30"
    with pytest.raises(InvalidInputError, match="version 99"):
        loop_from_json({**loop_to_json(config), "version": 99})


# What is replaced in GOOD, by what, and the sentence without the folder.
MISTAKES = [
    ("snout in corner and", "snuot in corner and", "23:15: streams.cam0.triggers.reward.when: there is no keypoint 'snuot'; did you mean snout?"),
    ("speed(center)", "sped(center)", "20:16: streams.cam0.quantities.walking: there is no function 'sped'; did you mean speed?"),
    ("[[10, 10], [90, 10], [50, 80]]", "[[10, 10], [90, 10]]", "17: streams.cam0.zones.nest: a polygon needs at least 3 corners and this one has 2"),
    ("hold_ms: 200", "hold_ms: -200", "25: streams.cam0.triggers.reward.hold_ms: -200 is too small; give 0 or more"),
    ("type: open_ephys", "type: openephys", "7: outputs.ephys.type: there is no type of output 'openephys'; did you mean 'open_ephys'?"),
    ("on_rise: {laser:", "on_rise: {lazer:", "30: streams.cam0.triggers.reward.on_rise.lazer: there is no output 'lazer'; did you mean 'laser'?"),
    ("{pulse_ms: 10}", "{pulse: 10}", "30: streams.cam0.triggers.reward.on_rise.laser.pulse: the key 'pulse' is unknown; did you mean 'pulse_ms'?"),
    ("seed: 7", "seed: 7\nexperiment: again", "3: experiment: this key is given in line 1 already; keep one of the two"),
    ("until: not snout in corner", "until: not (snout in corner", "24:36: streams.cam0.triggers.reward.until: the expression ends too early: a ')' is missing"),
    ("probability: 0.5", "probability: 1.5", "26: streams.cam0.triggers.reward.probability: 1.5 is too large; give 1 at most"),
    ("to_s: 3600", "to_s: 30", "29: streams.cam0.triggers.reward.between.0: the window ends at to_s: 30, not after its start at from_s: 60; give a later end, or leave to_s out"),
    ("- one_euro\n", "- on_euro\n", "12: streams.cam0.stages.0.on_euro: there is no stage 'on_euro'; did you mean 'one_euro'?"),
    ("streams:\n", "streems:\n", "8: streems: the key 'streems' is unknown; did you mean 'streams'?"),
    ("model: arena", "model: mouse", "10: streams.cam0.model: there is no model 'mouse'; the server has arena"),
    ("- kalman: {}", "- kalman: {bridge: 3}", "13: streams.cam0.stages.1.kalman.bridge: the key 'bridge' is unknown; did you mean 'bridge_ms'?"),
    ("per_minute: 6", "per_minute: 6.5", "27: streams.cam0.triggers.reward.at_most.per_minute: 6.5 is not a whole number"),
    ("hold_ms: 200", "hold_ms: long", "25: streams.cam0.triggers.reward.hold_ms: 'long' is not a number"),
    ("hold_ms: 200", "hold: 200", "25: streams.cam0.triggers.reward.hold: the key 'hold' is unknown; did you mean 'hold_ms'?"),
    ("experiment: corner-reward", "experiment: 7", "1: experiment: 7 is not text; put it in quotes"),
    ("experiment: corner-reward", "experiment: a/b", "1: experiment: 'a/b' can't name a log; use up to 80 letters, digits, blanks, dots, dashes and underscores, a letter or digit first"),
    ("        when: snout in corner and walking > 30\n", "", "22: streams.cam0.triggers.reward.when: the key 'when' is missing; give it"),
    ("walking > 30", "walking", "23:35: streams.cam0.triggers.reward.when: 'and' takes what is true or false, and walking is a number; compare it, as in walking > 1"),
    ("  laser: {type: serial, port: /dev/ttyACM0}", "  laser: {port: /dev/ttyACM0}", "5: outputs.laser: an output needs its type, as `{type: TYPE, ...}`; known are gpio, http, lsl, open_ephys, osc, serial, zeromq"),
    ("seed: 7", "seed: [7", "2: this is not valid YAML: the [ of this line is not closed, or a comma or a quotation mark is missing behind it"),
    ("    model: arena", "\tmodel: arena", "10: this is not valid YAML: there is a tab; indent with spaces"),
    ("pixels_per_cm: 12.5", "pixels_per_cm: .nan", "14: streams.cam0.pixels_per_cm: nan is not a number"),
    ('"*": {}', '"*": {triggers: {near: {when: distance(snout, tail) > 3}}}', "34: streams.*.triggers.near.tail) > 3: 'tail) > 3' is taken for a key, since within { } a comma ends a text; put the whole text in quotes"),
    ("walking: speed", "corner: speed", "9: streams.cam0: corner is the name of a zone and of a quantity; rename one of them"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "sentence"), MISTAKES, ids=[wrong.strip() for _, wrong, _ in MISTAKES])
def test_a_mistake_is_one_sentence(tmp_path: Path, right: str, wrong: str, sentence: str) -> None:
    assert right in GOOD
    with pytest.raises(InvalidInputError) as refusal:
        load(tmp_path, GOOD.replace(right, wrong, 1))
    assert str(refusal.value) == f"{tmp_path / 'rig.yaml'}:{sentence}"


def test_an_absent_port_is_said_at_the_start(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD.replace("/dev/ttyACM0", str(tmp_path / "ttyACM7")))
    output = SerialOutput("laser", config.outputs["laser"].config, OutputServices(None, ""))  # type: ignore[arg-type]
    with pytest.raises(OutputUnavailableError) as refusal:
        output.open()
    sentence = f"{config.source.where(('outputs', 'laser', 'port'))}{refusal.value}"
    assert sentence.startswith(f"{tmp_path / 'rig.yaml'}:5: outputs.laser.port: ")
    assert "ttyACM7" in sentence


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("hold_ms: 200", "hold_ms: -1").replace("probability: 0.5", "probability: 2")
    with pytest.raises(InvalidConfigurationError) as refusal:
        load(tmp_path, text)
    assert len(refusal.value.mistakes) == 2


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("when: snout in corner and wolking > 30", "23:35"),
        ("when: 'snout in corner and wolking > 30'", "23:36"),
        ('when: "snout in corner and wolking > 30"', "23:36"),
        ("when: |\n          snout in corner\n          and wolking > 30", "25:15"),
        ("when: >-  # a comment\n          snout in corner\n\n          and   wolking > 30", "26:17"),
        ("when: snout in corner\n          and wolking > 30", "24:15"),
    ],
)
def test_a_mistake_in_a_text_is_pointed_at_however_the_text_is_written(
    tmp_path: Path, written: str, place: str
) -> None:
    with pytest.raises(InvalidConfigurationError) as refusal:
        load(tmp_path, GOOD.replace("when: snout in corner and walking > 30", written))
    found = re.search(r"rig\.yaml:(\d+:\d+): .*'wolking'; did you mean walking\?", str(refusal.value))
    assert found is not None, str(refusal.value)
    assert found[1] == place


def test_settings_can_be_shared_with_anchors(tmp_path: Path) -> None:
    text = GOOD.replace("experiment:", "experiment:", 1).replace("      reward:\n", "      reward: &shared\n")
    text = text.replace('  "*": {}', "      other:\n        <<: *shared\n        hold_ms: 5\n")
    triggers = load(tmp_path, text).streams["cam0"].triggers
    assert (triggers["other"].hold_ms, triggers["other"].probability) == (5.0, 0.5)
    with pytest.raises(InvalidInputError, match=r"rig.yaml:36: .*triggers.other.hold_ms: -5 is too small"):
        load(tmp_path, text.replace("hold_ms: 5", "hold_ms: -5"))


BOMB = "a: &a0 [x, x]\n" + "".join(f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
MERGES = "a: &a0 {x: 1}\n" + "".join(f"b{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], y{n}: 1}}\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB, "more than 20000 values with its anchors expanded"),
        ("a: &a [*a]", "nested more than 40 deep"),
        ("a: &a {<<: *a}", "merges this into itself"),
        ("a: " + "[" * 1000, "nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, "nested more than 40 deep"),
        ("a: !!python/object/apply:os.system [ls]", "the tag .* is not known"),
        ("a: !!python/name:os.system", "the tag .* is not known"),
        ("a: " + "1" * 5000, "can't be read as a number"),
        ("{a: 1}: 2", "a key must be one word"),
        ("- a", "must hold `key: value` lines"),
        ("a: 1\n---\na: 1", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: " + "x" * MAX_FILE_BYTES, "larger than 256 KiB"),
    ],
    ids=range(13),
)
def test_a_hostile_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        load_loop(write(tmp_path, text), kinds())


def test_merges_do_not_multiply() -> None:
    assert parse_document(MERGES, "rig.yaml").values["b29"]["x"] == 1


def test_a_file_that_is_not_there_or_no_text_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="can't be read: No such file"):
        load_loop(tmp_path / "none.yaml", kinds())
    (tmp_path / "rig.yaml").write_bytes(b"a: 1\nb: \xe9")
    with pytest.raises(InvalidInputError, match=r"rig\.yaml:2: the configuration is not text in UTF-8"):
        load_loop(tmp_path / "rig.yaml", kinds())


keys = st.sampled_from(
    ["experiment", "streams", "outputs", "cam0", "triggers", "when", "stages", "type", "on_rise", "x"]
)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(keys, values, max_size=4))
@settings(max_examples=200)
def test_nothing_that_a_file_can_hold_ends_in_a_traceback(written: dict[str, Any]) -> None:
    text = yaml.safe_dump({"experiment": "a", **written})
    with contextlib.suppress(InvalidInputError):
        read_loop(parse_document(text, "rig.yaml"), Path(), kinds())


@given(st.text(alphabet="abc: -[]{}&*!|>'\"\n\t#%@,?", max_size=60))
@settings(max_examples=300)
def test_nothing_that_looks_like_yaml_ends_in_a_traceback(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        parse_document(text, "rig.yaml")
