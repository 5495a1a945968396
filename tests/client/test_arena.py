import csv
import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.arena import Arena, ArenaSettings
from poseloop.arena_dataset import vary, write_project
from poseloop.errors import InvalidInputError

QUIET = ArenaSettings(noise=0.0, frames_per_second=30.0)


@cache
def arena_of(chosen: ArenaSettings) -> Arena:
    return Arena(chosen)


def difference(index: int, **looks: tuple[float, float]) -> np.ndarray:
    """What changes in a frame when one property of the look changes: proportional to the cover of what has it."""
    first, second = (arena_of(replace(QUIET, **{name: pair[side] for name, pair in looks.items()})) for side in (0, 1))
    return second.frame(index).astype(float) - first.frame(index).astype(float)


def centroid_near(image: np.ndarray, x: float, y: float, radius: float) -> tuple[float, float]:
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    weight = image * (np.hypot(columns - x, rows - y) <= radius)
    return float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())


@pytest.mark.parametrize("index", [0, 37, 411, 977, 1500])
def test_nose_and_ears_are_drawn_where_the_truth_says(index: int) -> None:
    arena = arena_of(QUIET)
    skin = difference(index, skin_brightness=(20.0, 220.0))
    for name, reach in (("snout", 0.05), ("left_ear", 0.067), ("right_ear", 0.067)):
        x, y = arena.keypoints(index)[arena.keypoint_names.index(name)]
        assert centroid_near(skin, x, y, reach * arena.body_length_px) == pytest.approx((x, y), abs=0.015)


@pytest.mark.parametrize("index", [0, 411, 977])
def test_the_tail_ends_at_its_tip_and_the_body_lies_under_its_keypoints(index: int) -> None:
    arena = arena_of(QUIET)
    truth = dict(zip(arena.keypoint_names, arena.keypoints(index).astype(float), strict=True))
    skin = difference(index, skin_brightness=(20.0, 220.0)) > 60
    rows, columns = np.nonzero(skin)
    tip, base = truth["tail_tip"], truth["tail_base"]
    outwards = (tip - base) / np.linalg.norm(tip - base)
    farthest = ((columns - tip[0]) * outwards[0] + (rows - tip[1]) * outwards[1]).max()
    assert 0.0 <= farthest <= 2.0
    fur = difference(index, body_brightness=(20.0, 220.0))
    for name in ("neck", "body_centre"):
        x, y = np.rint(truth[name]).astype(int)
        assert fur[y, x] > 100
    behind = base + 0.1 * (tip - base)
    assert abs(fur[round(behind[1]), round(behind[0])]) < 30


def test_the_ears_are_on_the_animals_own_sides() -> None:
    arena = arena_of(QUIET)
    for index in range(0, 1500, 100):
        snout, left, right, neck = arena.keypoints(index)[:4]
        ahead = snout - neck
        # The y axis points down, so left of where it looks is a negative cross product.
        assert ahead[0] * (left - neck)[1] - ahead[1] * (left - neck)[0] < 0
        assert ahead[0] * (right - neck)[1] - ahead[1] * (right - neck)[0] > 0


def test_the_same_index_is_the_same_frame_in_any_order_and_process() -> None:
    chosen = ArenaSettings(width=160, height=120, seed=5, color="rgb")
    code = (
        "import hashlib; from poseloop.arena import Arena, ArenaSettings\n"
        "a = Arena(ArenaSettings(width=160, height=120, seed=5, color='rgb'))\n"
        "print(hashlib.sha256(a.frame(1234).tobytes() + a.keypoints(1234).tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    arena = Arena(chosen)
    for index in (7, 2000, 1234):
        frame, truth = arena.frame(index), arena.keypoints(index)
    assert frame.shape == (120, 160, 3)
    assert frame.dtype == np.uint8
    assert hashlib.sha256(frame.tobytes() + truth.tobytes()).hexdigest() == elsewhere
    assert not np.array_equal(arena.frame(1234), Arena(replace(chosen, seed=6)).frame(1234))


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(64, 400),
    height=st.integers(64, 400),
    animal_size=st.floats(0.4, 1.6),
    color=st.sampled_from(["gray", "rgb"]),
)
def test_every_keypoint_stays_in_the_frame(seed: int, width: int, height: int, animal_size: float, color: str) -> None:
    arena = Arena(ArenaSettings(width=width, height=height, seed=seed, animal_size=animal_size, color=color))
    points = np.concatenate([arena.keypoints(index) for index in range(0, 12_000, 97)])
    assert (points >= 0).all()
    assert (points <= (width - 1, height - 1)).all()
    assert arena.frame(seed % 10_000).shape[:2] == (height, width)


def test_it_walks_rests_and_never_jumps_over_the_seam_of_a_round() -> None:
    arena = Arena(ArenaSettings(frames_per_second=100.0))
    frames = round(arena.period_s * 100) + 50
    points = np.stack([arena.keypoints(index) for index in range(frames)]).astype(float)
    speed = np.linalg.norm(np.diff(points[:, 4], axis=0), axis=1) * 100 / arena.body_length_px
    assert 0.1 < (speed < 0.1).mean() < 0.5
    assert 2.0 < speed.max() < 5.0
    assert np.linalg.norm(np.diff(points, axis=0), axis=2).max() < 0.15 * arena.body_length_px


def test_the_noise_has_the_strength_that_was_asked_for_and_differs_between_frames() -> None:
    noisy, quiet = Arena(replace(QUIET, noise=4.0)), arena_of(QUIET)
    noise = [noisy.frame(index).astype(float) - quiet.frame(index) for index in (3, 4)]
    assert np.std(noise[0]) == pytest.approx(4.0, rel=0.1)
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] < 0.05


@pytest.mark.parametrize(
    ("name", "value"), [("width", 10), ("noise", -1.0), ("seed", -1), ("color", "bgr"), ("shadow", float("nan"))]
)
def test_a_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=name):
        ArenaSettings(**{name: value})  # type: ignore[arg-type]


def test_there_is_no_frame_before_the_first() -> None:
    with pytest.raises(InvalidInputError, match="no frame -1"):
        Arena(ArenaSettings(width=64, height=64)).keypoints(-1)


def test_a_project_holds_the_frames_and_their_truth(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    small = ArenaSettings(width=160, height=128)
    config = write_project(tmp_path / "project", 9, small, appearances=2, seed=3)
    labels = sleap_io.load_file(str(config.parent / "labeled-data" / "arena001" / "CollectedData_arena.csv"))
    assert {node.name for node in labels.skeletons[0].nodes} == set(Arena.keypoint_names)
    assert len(labels) == 5
    assert labels[0].image.shape == (128, 160, 1)
    with (config.parent / "labeled-data" / "arena000" / "CollectedData_arena.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 3 + 4
    arena = Arena(small)
    truth = np.array(rows[3][1:], float).reshape(7, 2)
    everywhere = np.stack([arena.keypoints(index) for index in range(round(arena.period_s * 60))])
    assert np.abs(everywhere - truth).max(axis=(1, 2)).min() < 1e-3
    with pytest.raises(InvalidInputError, match="already holds a project"):
        write_project(tmp_path / "project", 9, small)


def test_a_project_of_fewer_frames_than_appearances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least one each"):
        write_project(tmp_path, 2, appearances=3)


def test_varied_arenas_keep_the_animal_visible() -> None:
    base = ArenaSettings(width=64, height=64)
    looks = [vary(base, seed) for seed in range(40)]
    assert all(abs(look.body_brightness - look.background_brightness) >= 60 for look in looks)
    assert len({look.seed for look in looks}) == 40
    assert vary(base, 3) == looks[3]
