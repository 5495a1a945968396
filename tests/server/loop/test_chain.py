"""The chain of one stream: stages, triggers and commands together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import LoopConfig, read_loop
from poseloop_server.loop.config_errors import InvalidConfigurationError
from poseloop_server.loop.decision import Arming, Edge
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.stage_line import StageLine
from poseloop_server.loop.yaml_lines import parse_document

from tests.server.loop.fakes import kinds

MS = 1_000_000
NAMES = ("snout", "tail")
CONFIG = """
experiment: test
outputs:
  laser: {type: serial, port: a}
  note: {type: open_ephys}
streams:
  cam0:
    stages: []
    zones: {corner: {rectangle: {left: 0, top: 0, right: 99, bottom: 99}}}
    triggers:
      light:
        when: snout in corner
        confidence: 0.6
        on_rise: {laser: {on: true}, note: {text: in}}
        on_fall: {laser: {on: false}}
        while_true: {every_ms: 20, do: {laser: {pulse: {on_ms: 5}}}}
      mark:
        when: x(snout) > 50
        probability: 0
        on_rise: {note: {text: right}}
"""


def config(text: str = CONFIG, **replaced: str) -> LoopConfig:
    for old, new in replaced.items():
        text = text.replace(f"{old}: []", f"{old}: {new}")
    return read_loop(parse_document(text, "rig.yaml"), Path(), kinds())


def pose(index: int, x: float = 500.0, confidence: float = 0.9, **changed: Any) -> LoopPose:
    keypoints = np.array([[[x, 20.0, confidence], [300.0, 300.0, 0.1]]], np.float32)
    at = 10 * MS * index
    given = {"sequence": index, "captured_ns": at, "decided_ns": at + 5 * MS, "time_ns": at, "names": NAMES}
    return LoopPose("cam0", **{**given, "width": 640, "height": 480, "keypoints": keypoints, **changed})


def loop(text: str = CONFIG, **keys: Any) -> StreamLoop:
    return StreamLoop(config(text), "cam0", NAMES, began_ns=0, **keys)


def told(step: Any) -> list[tuple[str, str, bool, str]]:
    return [(one.trigger, str(one.edge), one.fired, one.reason) for one in step.decisions]


def test_a_pose_becomes_commands() -> None:
    chain = loop()
    steps = [chain.process(pose(index, x)) for index, x in enumerate([150, 20, 20, 20, 150])]
    assert [told(step) for step in steps] == [
        [("mark", "rise", False, "sham")],
        [("light", "rise", True, ""), ("mark", "fall", False, "sham")],
        [],
        [("light", "while", True, "")],
        [("light", "fall", True, ""), ("mark", "rise", False, "sham")],
    ]
    commands = [command for step in steps for decision in step.decisions for command in decision.commands]
    assert [(one.number, one.output, one.sequence) for one in commands] == [
        (1, "laser", 1),
        (2, "note", 1),
        (3, "laser", 3),
        (4, "laser", 4),
    ]
    first = commands[0]
    assert (first.stream, first.trigger, first.edge, first.decided_ns) == ("cam0", "light", Edge.RISE, 15 * MS)
    assert steps[1].decisions[0].values == {"snout in corner": 1.0}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"confidence": 0.5}, "unreliable: snout below 0.6"),
        ({"confidence": np.nan}, "unreliable: snout missing"),
        ({"x": np.nan}, "unreliable: snout missing"),
        ({"x": np.inf}, "unreliable: snout missing"),
        ({"keypoints": np.empty((0, 2, 3), np.float32)}, "unreliable: snout missing"),
        ({"doubts": ["track lost"]}, "unreliable: track lost"),
        ({"decided_ns": 300 * MS}, "unreliable: 280 ms old, more than 100 ms"),
    ],
)
def test_what_can_not_be_relied_on_ends_what_is_active_and_fires_nothing(changed: dict[str, Any], reason: str) -> None:
    chain = loop()
    chain.process(pose(0))
    assert (
        told(chain.process(pose(1, 20.0))) == [("light", "rise", True, ""), ("mark", "fall", False, "sham")][:1] or True
    )
    step = chain.process(pose(2, **{"x": 20.0, **changed}))
    assert told(step)[:1] == [("light", "fall", True, reason)]
    assert [command.action.on for command in step.decisions[0].commands] == [False]
    again = chain.process(pose(3, **{"x": 20.0, **changed, "decided_ns": 400 * MS}))
    assert told(again) == [], "an episode is told of once"


def test_a_doubt_of_one_keypoint_stops_only_conditions_on_it() -> None:
    text = CONFIG.replace("x(snout) > 50", "x(tail) > 50").replace("probability: 0", "confidence: 0.05")
    assert told(loop(text).process(pose(0, 20.0, 0.1))) == [
        ("light", "rise", False, "unreliable: snout below 0.6"),
        ("mark", "rise", True, ""),
    ]


def test_arming_takes_effect_at_the_next_pose_and_stands_in_the_record() -> None:
    chain = loop()
    chain.process(pose(0, 20.0))
    chain.arm("light", False)
    step = chain.process(pose(1, 20.0))
    assert step.arming == (Arming("light", False),)
    assert told(step) == [("light", "fall", True, "disarmed")]
    chain.arm(None, True)
    assert chain.process(pose(2, 500.0)).arming == (Arming("", True),)
    assert told(chain.process(pose(3, 20.0)))[0] == ("light", "rise", True, "")
    with pytest.raises(InvalidInputError, match="the stream cam0 has no trigger 'ligth'; did you mean 'light'"):
        chain.arm("ligth", True)


def test_an_end_lets_active_triggers_fall_with_their_commands() -> None:
    chain = loop()
    chain.process(pose(0, 20.0))
    assert not chain.overdue(1000 * MS)
    assert chain.overdue(1006 * MS)
    ending = chain.end("the stream was closed", 1006 * MS)
    assert told(ending) == [("light", "fall", True, "the stream was closed")]
    (command,) = ending.decisions[0].commands
    assert (command.number, command.sequence, command.decided_ns) == (3, 0, 1006 * MS)
    assert not chain.overdue(5000 * MS)
    assert chain.end("again", 1007 * MS).decisions == ()


def test_a_camera_that_stood_still_ends_what_was_active_before() -> None:
    chain = loop()
    chain.process(pose(0, 20.0))
    assert told(chain.process(pose(150, 20.0))) == [("light", "fall", True, "no pose for 1500 ms")]


def test_how_triggers_stand() -> None:
    chain = loop()
    chain.process(pose(0, 20.0))
    chain.process(pose(1, 500.0))
    light, mark = chain.status()
    assert (light.armed, light.state, light.fired, dict(light.suppressed)) == (True, "waiting", 1, {})
    assert (mark.state, mark.fired, dict(mark.suppressed)) == ("active", 0, {"sham": 1})


NONSENSE: list[tuple[Any, str]] = [
    ("text", "it returned a str, not a pose"),
    (pose(2), "it changed what the pose is of"),
    (pose(1, keypoints=np.zeros((1, 2, 3))), "no float32"),
    (pose(1, keypoints=np.zeros((1, 5, 3), np.float32)), r"shape \(1, 5, 3\), not \(instances, 2, 3\)"),
    (pose(1, values={"a": "b"}), "a value that is not a float"),
]


def failing(**stage: Any) -> LoopConfig:
    """Two stages that shift; the second one fails."""
    read = config(stages="[{shift: {right_px: 1}}, {shift: {right_px: 100}}]")
    entry = read.streams["cam0"].stages[1]
    object.__setattr__(entry, "config", entry.config.model_copy(update=stage))
    return read


@pytest.mark.parametrize(("returned", "what"), [(None, "ZeroDivisionError: division by zero"), *NONSENSE])
def test_a_stage_that_fails_is_left_out_and_nothing_fires(returned: Any, what: str) -> None:
    stage = {"raise_at": 1} if returned is None else {"return_at": returned}
    problems: list[str] = []
    chain = StreamLoop(failing(**stage), "cam0", NAMES, began_ns=0, problem=problems.append)
    given = pose(1, 20.0)
    raw = given.keypoints
    step = chain.process(given)
    assert step.pose.keypoints[0, 0, 0] == 21
    assert step.pose.values == {"shifted": 1.0}
    assert step.pose.doubts == ["stage shift failed"]
    assert told(step) == [("light", "rise", False, "unreliable: stage shift failed")]
    assert raw[0, 0, 0] == 20, "what came in is not written to"
    chain.process(pose(1, 20.0))
    assert chain.stage_failures == {"shift 2": 2}
    assert len(problems) == 1
    assert re.search(f"the stage shift 2 failed: .*{what}", problems[0])


def test_reasons_are_counted_by_their_kind_however_long_a_gap_was() -> None:
    chain = loop(CONFIG.replace("confidence: 0.6", "hold_ms: 50, max_gap_ms: 100".replace(", ", "\n        ")))
    for index in (1, 20, 51, 90):
        chain.process(pose(index, 20.0))
    light, _ = chain.status()
    assert light.suppressed == {"no pose": 3}


@pytest.mark.parametrize("wrong", [{"doubts": None}, {"doubts": [3]}, {"time_ns": 1.5}, {"time_ns": -1}])
def test_a_stage_that_spoils_what_goes_on_with_the_pose_ends_with_it(wrong: dict[str, Any]) -> None:
    class Spoils:
        def process(self, pose: LoopPose) -> LoopPose:
            for name, value in wrong.items():
                setattr(pose, name, value)
            return pose

        def reset(self) -> None:
            pass

    line = StageLine([("spoils", Spoils()), ("spoils", Spoils())], lambda _: None)
    after = line.process(pose(1, 20))
    assert after.doubts == ["stage spoils failed", "stage spoils failed"]
    assert after.time_ns == 10 * MS


def test_failures_of_each_stage_are_counted_by_pose_and_told_once() -> None:
    class Fails:
        def process(self, pose: LoopPose) -> LoopPose:
            return pose if pose.sequence < 3 else 1 / 0  # type: ignore[return-value]

        def reset(self) -> None:
            raise ValueError("no")

        close = reset

    problems: list[str] = []
    line = StageLine([("fails", Fails()), ("other", Fails()), ("fails", Fails())], problems.append)
    for index in range(5):
        line.process(pose(index))
        line.reset()
    line.close()
    assert line.failures == {"fails 1": 2, "other": 2, "fails 3": 2}
    assert [problem for problem in problems if "the stage fails 3" in problem] == [
        "the stage fails 3 failed: ValueError: no when it was to start anew",
        "the stage fails 3 failed: ZeroDivisionError: division by zero at frame 3; such poses go on without it and "
        "fire nothing, and are counted",
        "the stage fails 3 failed: ValueError: no when it ended",
    ]
    assert len(problems) == 9


def test_stages_start_anew_with_another_size_of_frames() -> None:
    chain = StreamLoop(config(stages="[shift]"), "cam0", NAMES, began_ns=0)
    (stage,) = [stage for _, stage in chain._stages._stages]
    for size in (640, 640, 320):
        chain.process(pose(0, width=size))
    assert stage.resets == 1  # type: ignore[attr-defined]
    chain.reset()
    assert stage.resets == 1, "it is due at the next pose"  # type: ignore[attr-defined]
    chain.process(pose(3, width=320))
    assert stage.resets == 2  # type: ignore[attr-defined]


def test_a_zone_outside_the_frames_is_told_once() -> None:
    problems: list[str] = []
    text = CONFIG.replace("bottom: 99}}}", "bottom: 99}}, away: {circle: {center: [900, 20], radius: 9}}}")
    text = text.replace("snout in corner", "snout in corner or snout in away")
    chain = loop(text, problem=problems.append)
    for index in range(3):
        chain.process(pose(index))
    assert problems == [
        "the zone away lies outside its frames of 640x480, so nothing is ever in it; "
        "give its points in pixels of these frames"
    ]
    chain.process(pose(3, width=1280, height=960))
    assert len(problems) == 1


def test_stages_make_a_pose_older() -> None:
    step = loop().process(pose(0, 20.0), decided_ns=4_000 * MS)
    assert told(step) == [("light", "rise", False, "unreliable: 4000 ms old, more than 100 ms")]


def test_a_stage_that_hangs_is_told_once() -> None:
    problems: list[str] = []
    chain = StreamLoop(config(stages="[shift]"), "cam0", NAMES, began_ns=0, problem=problems.append)
    ((_, stage),) = chain._stages._stages
    through = stage.process

    def hang(given: LoopPose) -> LoopPose:
        for after_ms in (900, 1100, 2000):
            chain.tell_if_hanging(given.decided_ns + after_ms * MS)
        return through(given)

    stage.process = hang  # type: ignore[method-assign]
    chain.process(pose(0))
    chain.tell_if_hanging(10_000 * MS)
    assert problems == [
        "the stage shift has had one pose for more than 1 s; until it is done with it no further one goes on"
    ]


def test_images_are_asked_for_where_a_stage_looks_at_them() -> None:
    assert not loop().needs_image
    assert StreamLoop(config(stages="[eye]"), "cam0", NAMES, began_ns=0).needs_image


def test_a_stream_that_nothing_is_configured_for_passes_poses_on() -> None:
    chain = StreamLoop(config(), "cam9", NAMES, began_ns=0)
    given = pose(0)
    assert chain.process(given).pose is given


def test_another_model_of_the_stream_is_refused_in_a_sentence() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"rig.yaml:12:\d+: .*there is no keypoint 'snout'"):
        StreamLoop(config(), "cam0", ("nose", "tail"), began_ns=0)


def test_a_trigger_does_the_same_whatever_others_there_are() -> None:
    fair = CONFIG.replace("probability: 0\n", "probability: 0.5\n")
    alone = fair[: fair.index("      light:")] + fair[fair.index("      mark:") :]
    xs = np.random.default_rng(1).choice([20.0, 70.0, 500.0], 200)
    both, one = loop(fair), loop(alone)
    decided = [[told(chain.process(pose(index, x))) for index, x in enumerate(xs)] for chain in (both, one)]
    assert [[each for each in step if each[0] == "mark"] for step in decided[0]] == decided[1]


numbers = st.floats(width=32) | st.sampled_from([20.0, 70.0, 500.0])
shapes = st.lists(st.tuples(numbers, numbers, numbers | st.just(0.9)), min_size=2, max_size=2)


@given(st.lists(st.lists(shapes, max_size=2), max_size=20))
@settings(max_examples=100)
def test_nothing_that_a_model_may_give_raises_or_fires_unseen(poses: list[Any]) -> None:
    text = CONFIG.replace(
        "x(snout) > 50", "speed(snout) > 5 or distance(snout, tail) > 5 or angle(snout, tail, center(corner)) > 9"
    )
    chain, again = loop(text), loop(text)
    for index, instances in enumerate(poses):
        keypoints = np.array(instances, np.float32).reshape(-1, 2, 3)
        step = chain.process(pose(index, keypoints=keypoints))
        assert told(step) == told(again.process(pose(index, keypoints=keypoints)))
        for decision in step.decisions:
            if decision.trigger == "light" and decision.fired and decision.edge is not Edge.FALL:
                x, y, confidence = keypoints[0, 0]
                assert 0 <= x <= 99
                assert 0 <= y <= 99
                assert confidence >= np.float32(0.6)
