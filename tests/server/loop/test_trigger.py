# ruff: noqa: E501 - a line a case
"""The triggers' state machine, against a slow model and as a user meets it."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop_server.loop.decision import Edge
from poseloop_server.loop.trigger import TriggerState, Verdict, draws_of
from poseloop_server.loop.trigger_config import AtMost, Repeat, TimeWindow, TriggerRules

from tests.server.loop.trigger_model import Seen, SlowTrigger

MS = 1_000_000
BEGAN_NS = 5_000 * MS

truths = st.sampled_from([True, True, True, False, None])
poses = st.tuples(st.integers(0, 40), truths, truths, st.sampled_from([True, True, True, False]), st.integers(0, 60))
steps = st.lists(
    st.one_of(poses, poses, poses, poses, st.booleans(), st.just("end"), st.just("pause")), min_size=1, max_size=120
)
rules = st.builds(
    TriggerRules,
    hold_ms=st.sampled_from([0, 0, 30, 55.5]),
    release_ms=st.sampled_from([0, 0, 40]),
    bridge_ms=st.sampled_from([0, 0, 25]),
    max_gap_ms=st.sampled_from([35, 1000]),
    refractory_ms=st.sampled_from([0, 100]),
    at_most=st.builds(AtMost, per_minute=st.sampled_from([None, 1, 3]), in_all=st.sampled_from([None, None, 1, 5])),
    probability=st.sampled_from([1.0, 0.5, 0.0]),
    armed=st.sampled_from([True, True, True, False]),
    between=st.sampled_from([(), (), (TimeWindow(from_s=0.2, to_s=0.7), TimeWindow(from_s=1))]),
    while_true=st.sampled_from([None, Repeat.model_construct(every_ms=50, do=())]),
)


def run(rules: TriggerRules, events: list[Any], seed: int = 0) -> list[tuple[Any, Verdict | None, bool]]:
    """Give events to a trigger and its model, and return what it made of each, and whether it was reliable."""
    trigger = TriggerState(rules, draws_of(seed, "cam0", "reward"), BEGAN_NS)
    draws = draws_of(seed, "cam0", "reward")
    model = SlowTrigger(rules, [draws.random() for _ in events], BEGAN_NS, rules.armed)
    captured_ns = decided_ns = BEGAN_NS
    made = []
    for event in events:
        if isinstance(event, bool):
            trigger.armed = model.armed = event
            continue
        if event == "pause":
            captured_ns += 70_000 * MS
            continue
        if event == "end":
            verdict, expected = trigger.end(decided_ns, "the stream ended"), model.end(decided_ns, "the stream ended")
            reliable = True
        else:
            later, when, over, reliable, age = event
            captured_ns += later * MS
            decided_ns = max(decided_ns, captured_ns + age * MS)
            was_over = None if over is None else not over
            holds = was_over if trigger.rose else when
            reliable = reliable and holds is not None
            verdict = trigger.advance(captured_ns, decided_ns, holds, event[3])
            expected = model.take(Seen(captured_ns, decided_ns, when, over, event[3]))
        assert verdict == expected
        assert trigger.rose == model.is_active()
        made.append((decided_ns, verdict, reliable))
    return made


@given(rules, steps)
@settings(max_examples=600)
def test_it_does_what_the_slow_model_does(rules: TriggerRules, events: list[Any]) -> None:
    made = run(rules, events)
    assert made == run(rules, events), "the same poses and the same seed give the same"
    reports = [(at, verdict, reliable) for at, verdict, reliable in made if verdict is not None]
    assert all(reliable for _, verdict, reliable in reports if verdict.fired and verdict.edge is not Edge.FALL)
    fired = [verdict.edge for _, verdict, _ in reports if verdict.fired and verdict.edge is not Edge.WHILE]
    assert fired == ([Edge.RISE, Edge.FALL] * len(fired))[: len(fired)]
    rises = [at for at, verdict, _ in reports if verdict.edge is Edge.RISE and verdict.reason in ("", "sham")]
    falls = [at for at, verdict, _ in reports if verdict.edge is Edge.FALL]
    assert all(rise - fall >= rules.refractory_ms * MS for fall, rise in zip(falls, rises[1:], strict=False))
    most = rules.at_most
    assert most.in_all is None or len(rises) <= most.in_all
    if most.per_minute:
        assert all(later - at >= 60_000 * MS for at, later in zip(rises, rises[most.per_minute :], strict=False))


def watch(truth: str, *, every_ms: int = 10, **keys: Any) -> list[tuple[int, str]]:
    """Give one pose a character: ``#`` true, ``.`` not, ``?`` unreliable while true; return reports by index."""
    trigger = TriggerState(TriggerRules(**keys), Random(1), 0)
    reports = []
    for index, character in enumerate(truth):
        at = index * every_ms * MS
        if verdict := trigger.advance(at, at + 5 * MS, character in "#?", character != "?"):
            reports.append((index, f"{verdict.edge}{'' if verdict.fired else ' not'} {verdict.reason}".strip()))
    return reports


@pytest.mark.parametrize(
    ("truth", "keys", "reports"),
    [
        ("..##..", {}, [(2, "rise"), (4, "fall")]),
        (".####.", {"hold_ms": 20}, [(3, "rise"), (5, "fall")]),
        (".##.##.", {"hold_ms": 20}, []),
        ("#..#...", {"release_ms": 20}, [(0, "rise"), (6, "fall")]),
        ("##?##", {}, [(0, "rise"), (2, "fall unreliable"), (3, "rise")]),
        ("##?##.", {"bridge_ms": 10}, [(0, "rise"), (5, "fall")]),
        ("##??##", {"bridge_ms": 10}, [(0, "rise"), (3, "fall unreliable"), (4, "rise")]),
        (".????.", {}, [(1, "rise not unreliable")]),
        ("##?####", {"hold_ms": 20}, [(2, "rise not unreliable"), (5, "rise")]),
        ("##?##", {"hold_ms": 20, "bridge_ms": 10}, [(3, "rise")]),
        (
            "#.#.....#.",
            {"refractory_ms": 40},
            [(0, "rise"), (1, "fall"), (2, "rise not refractory"), (8, "rise"), (9, "fall")],
        ),
        ("#.###########", {"refractory_ms": 40}, [(0, "rise"), (1, "fall"), (2, "rise not refractory")]),
        ("#.#.#.", {"at_most": {"in_all": 1}}, [(0, "rise"), (1, "fall"), (2, "rise not at most 1 in all"), (4, "rise not at most 1 in all")]),
        ("#.", {"probability": 0}, [(0, "rise not sham"), (1, "fall not sham")]),
        ("##.", {"armed": False}, [(0, "rise not disarmed")]),
        ("#####.#", {"between": [{"to_s": 0.03}]}, [(0, "rise"), (3, "fall outside its time windows"), (4, "rise not outside its time windows"), (6, "rise not outside its time windows")]),
    ],
)  # fmt: skip
def test_what_is_reported(truth: str, keys: dict[str, Any], reports: list[tuple[int, str]]) -> None:
    assert watch(truth, **keys) == reports


def test_what_is_repeated_keeps_its_rhythm_and_leaves_out_what_it_missed() -> None:
    trigger = TriggerState(TriggerRules(while_true=Repeat.model_construct(every_ms=100, do=())), Random(1), 0)
    at_ms = [0, 90, 110, 190, 205, 460, 490, 510]
    edges = [trigger.advance(at * MS, at * MS, True, True) for at in at_ms]
    assert [at for at, verdict in zip(at_ms, edges, strict=True) if verdict] == [0, 110, 205, 460, 510]


def test_disarming_ends_what_is_active_and_arming_waits_for_the_next_rise() -> None:
    trigger = TriggerState(TriggerRules(), Random(1), 0)
    assert trigger.advance(0, 0, True, True) == Verdict(Edge.RISE, True)
    trigger.armed = False
    assert trigger.advance(1, 1, True, True) == Verdict(Edge.FALL, True, "disarmed")
    assert trigger.advance(2, 2, True, True) == Verdict(Edge.RISE, False, "disarmed")
    trigger.armed = True
    assert [trigger.advance(3, 3, holds, True) for holds in (True, False)] == [None, None]
    assert trigger.advance(4, 4, True, True) == Verdict(Edge.RISE, True)


def test_a_trigger_draws_the_same_whatever_others_there_are() -> None:
    first = [draws_of(7, "cam0", "reward").random() for _ in range(2)]
    assert first[0] == first[1]
    others = {
        draws_of(7, "cam0", "air").random(),
        draws_of(7, "cam1", "reward").random(),
        draws_of(8, "cam0", "reward").random(),
    }
    assert len(others | set(first)) == 4


def test_a_probability_is_what_comes_out() -> None:
    draws = draws_of(3, "cam0", "reward")
    trigger = TriggerState(TriggerRules(probability=0.25), draws, 0)
    verdicts = [trigger.advance(index, index, index % 2 == 0, True) for index in range(8000)]
    fired = sum(verdict is not None and verdict == Verdict(Edge.RISE, True) for verdict in verdicts)
    assert fired == pytest.approx(1000, abs=100)


def test_edges_of_two_rises_never_overlap() -> None:
    edges = [what.split()[0] for _, what in watch("#.##..#?##.#??#.", release_ms=10)]
    assert all(a != b for a, b in pairwise(edges))
