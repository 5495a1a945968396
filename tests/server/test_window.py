"""Where the window goes: against a network that sees each keypoint which lies in the image it gets, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.crop import Crop
from poseloop_server.window import NEAR, SEARCH_WINDOWS, Follower, View

BODY = np.array([[0, -40], [0, 0], [0, 40], [20, 30]], float)  # about its centre, in pixels
MOST_LOOKS = 5


class Watched:
    """A follower and the network that it asks.

    Args:
        least_scale: of an image, below which the network sees nothing in it.
        hidden: keypoints that it never sees.
    """

    def __init__(self, crop: Crop, *, least_scale: float = 0.2, hidden: tuple[int, ...] = ()) -> None:
        self.follower = Follower(crop, 0.3)
        self.views: list[View] = []
        self._least_scale, self._hidden = least_scale, hidden
        self._rng = np.random.default_rng(0)

    def see(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """Let it find the keypoints of a frame; return what it says, ``(keypoints, 3)``."""
        self.views = []
        view: View | None = self.follower.begin(width, height)
        while view is not None:
            self.views.append(view)
            assert len(self.views) <= MOST_LOOKS
            view = self.follower.see(self._answer(view, points))
        return self.follower.keypoints[0]

    def _answer(self, view: View, points: np.ndarray) -> np.ndarray:
        scale = np.array([view.image_width / view.width, view.image_height / view.height])
        inside = (points >= [view.x, view.y]) & (points <= [view.x + view.width - 1, view.y + view.height - 1])
        seen = inside.all(axis=1) & (scale.min() >= self._least_scale)
        seen[list(self._hidden)] = False
        places = (points - [view.x, view.y] + 0.5) * scale - 0.5
        noise = self._rng.uniform(0, [view.image_width, view.image_height], points.shape)
        found = np.where(seen[:, None], places, noise)
        confidence = np.where(seen, 0.8, self._rng.uniform(0, 0.05, len(points)))
        return np.concatenate([found, confidence[:, None]], axis=1)[None].astype(np.float32)


SIZES = st.integers(40, 1500)
SIDES = st.integers(32, 400)
AROUND = st.integers(250, 300)  # frames hardly larger than a window of 256


@given(
    frames=st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=3),
    sides=st.tuples(SIDES, SIDES),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200)
def test_whatever_the_network_says_every_view_lies_in_the_frame_and_costs_no_more_than_a_few_windows(
    frames: list[tuple[int, int]], sides: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    follower = Follower(Crop(*sides), 0.3)
    for width, height in frames:
        for _ in range(3):
            view: View | None = follower.begin(width, height)
            looks = 0
            while view is not None:
                looks += 1
                assert 0 <= view.x <= width - view.width
                assert 0 <= view.y <= height - view.height
                if (view.width, view.height) != (width, height):
                    assert (view.width, view.height) == (min(sides[0], width), min(sides[1], height))
                    assert not view.is_reduced
                most = SEARCH_WINDOWS * sides[0] * sides[1]
                assert view.image_width * view.image_height <= most + view.image_width + view.image_height
                answer = rng.normal(200, 400, (1, 4, 3)).astype(np.float32)
                answer[..., 2] = rng.choice([0.0, 0.2, 0.9], answer.shape[:2])
                answer[:, rng.random(4) < 0.2] = [np.nan, np.nan, 0]
                view = follower.see(answer)
            assert looks <= MOST_LOOKS
            part = follower.view
            assert 0 <= part.x <= width - part.width
            assert 0 <= part.y <= height - part.height


@given(
    corner=st.tuples(st.integers(0, 8000), st.integers(0, 8000)),
    place=st.tuples(st.integers(-2000, 4000), st.integers(-2000, 4000)),
)
def test_keypoints_of_a_window_are_mapped_back_exactly(corner: tuple[int, int], place: tuple[int, int]) -> None:
    x, y = (value / 8 for value in place)  # what float32 holds exactly, as it does the sum
    keypoints = np.array([[[x, y, 0.7]]], np.float32)
    found = View(*corner, 256, 192, 256, 192).to_frame(keypoints)
    assert found.tolist() == [[[x + corner[0], y + corner[1], np.float32(0.7)]]]
    assert keypoints.tolist() == [[[x, y, np.float32(0.7)]]], "what the model gave is not written into"


def test_a_reduced_frame_keeps_its_edges() -> None:
    reduced = View(0, 0, 1000, 600, 250, 200)
    edges = np.array([[[-0.5, -0.5, 1], [249.5, 199.5, 1], [0, 0, 1]]], np.float32)
    assert reduced.to_frame(edges)[0, :, :2].tolist() == [[-0.5, -0.5], [999.5, 599.5], [1.5, 1.0]]


@given(data=st.data(), width=AROUND | st.integers(100, 2000), height=AROUND | st.integers(100, 2000))
@settings(max_examples=100)
def test_an_animal_that_moves_less_than_the_margin_is_seen_whole_at_the_first_look(
    data: st.DataObject, width: int, height: int
) -> None:
    watched = Watched(Crop(256, 256))
    extent = np.ptp(BODY, axis=0)
    margin = (256 - extent) / 2 - 2 * NEAR * 256 - 1  # a window may rest by one share, and another is kept free
    low, high = -BODY.min(axis=0), np.array([width, height]) - 1 - BODY.max(axis=0)
    place = np.array([data.draw(st.floats(low[axis], high[axis])) for axis in (0, 1)])
    for frame in range(6):
        if frame:
            step = np.array([data.draw(st.floats(-margin[axis], margin[axis])) for axis in (0, 1)])
            place = np.clip(place + step, low, high)
        found = watched.see(place + BODY, width, height)
        np.testing.assert_allclose(found[:, :2], place + BODY, atol=1e-3)
        assert not watched.follower.view.lost
        if frame:
            assert len(watched.views) == 1
            assert not watched.follower.view.searched


@given(places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
@settings(max_examples=100)
def test_however_far_an_animal_leaps_it_is_found_in_the_same_frame(places: list[tuple[float, float]]) -> None:
    watched = Watched(Crop(200, 200))
    low, high = -BODY.min(axis=0), np.array([1024, 768]) - 1 - BODY.max(axis=0)
    for share in places:
        points = low + (high - low) * share + BODY
        found = watched.see(points, 1024, 768)
        np.testing.assert_allclose(found[:, :2], points, atol=1e-3)
        assert (found[:, 2] > 0.5).all()
        assert not watched.views[-1].is_reduced, "what is told was seen at full scale"
        assert not watched.follower.view.lost


def test_an_animal_that_leaves_is_lost_and_is_found_when_it_comes_back() -> None:
    watched = Watched(Crop(200, 200))
    here, away = np.array([300, 300]) + BODY, np.array([-900, -900]) + BODY
    steps = []
    for points in (here, here, away, away, here, here):
        watched.see(points, 1024, 768)
        steps.append((watched.follower.view.searched, watched.follower.view.lost))
    assert steps == [(True, False), (False, False), (True, True), (True, True), (True, False), (False, False)]


def test_an_animal_that_a_reduced_frame_does_not_show_is_found_by_the_tiles() -> None:
    watched = Watched(Crop(200, 200), least_scale=1.0)
    points = np.array([900, 700]) + BODY
    frames = 0
    while frames == 0 or watched.follower.view.lost:
        frames += 1
        assert frames <= 10 * 7, "every tile of the frame was looked at"
        watched.see(points, 1024, 768)
    assert frames > 1
    watched.see(points, 1024, 768)
    assert len(watched.views) == 1


@pytest.mark.parametrize("place", [(21, 41), (1003, 41), (21, 727), (1003, 727), (500, 41)])
def test_at_a_border_the_window_lies_inside_the_frame_and_needs_no_second_look(place: tuple[int, int]) -> None:
    watched = Watched(Crop(200, 200))
    points = np.array(place) + BODY
    for frame in range(3):
        found = watched.see(points, 1024, 768)
        np.testing.assert_allclose(found[:, :2], points, atol=1e-3)
        if frame:
            assert len(watched.views) == 1


def test_an_animal_that_is_cut_off_is_looked_at_again_in_the_same_frame() -> None:
    watched = Watched(Crop(200, 200))
    watched.see(np.array([300, 300]) + BODY, 1024, 768)
    moved = np.array([300, 390]) + BODY  # its last two keypoints are out of the window then
    found = watched.see(moved, 1024, 768)
    assert len(watched.views) == 2
    assert not watched.follower.view.searched
    np.testing.assert_allclose(found[:, :2], moved, atol=1e-3)


def test_the_window_rests_while_the_animal_does() -> None:
    rng = np.random.default_rng(1)
    watched = Watched(Crop(200, 200))
    views = []
    for _ in range(20):
        watched.see(np.array([300, 300]) + BODY + rng.normal(0, 2, BODY.shape), 1024, 768)
        views.append(watched.views[-1])
    assert len(set(views)) == 1


def test_a_keypoint_that_is_never_seen_costs_nothing_and_half_of_them_are_enough() -> None:
    watched = Watched(Crop(200, 200), hidden=(0, 3))
    for step in range(5):
        found = watched.see(np.array([300 + 5 * step, 300]) + BODY, 1024, 768)
        assert not watched.follower.view.lost
        assert step == 0 or len(watched.views) == 1
    assert (found[:, 2] > 0.5).tolist() == [False, True, True, False]


def test_with_less_than_half_of_the_keypoints_the_animal_is_lost_but_what_was_seen_is_told() -> None:
    watched = Watched(Crop(200, 200), hidden=(0, 1, 3))
    points = np.array([300, 300]) + BODY
    for _ in range(3):
        found = watched.see(points, 1024, 768)
        assert watched.follower.view.lost
        np.testing.assert_allclose(found[2, :2], points[2], atol=1e-3)


def test_frames_of_another_size_begin_with_a_search_and_so_does_a_reset() -> None:
    watched = Watched(Crop(200, 200))
    points = np.array([300, 300]) + BODY
    searched = []
    for width in (1024, 1024, 1000, 1000):
        watched.see(points, width, 768)
        searched.append(watched.follower.view.searched)
    watched.follower.reset()
    watched.see(points, 1000, 768)
    assert [*searched, watched.follower.view.searched] == [True, False, True, False, True]


def test_frames_that_are_no_larger_than_the_window_are_seen_whole_with_one_look() -> None:
    watched = Watched(Crop(200, 200))
    for points in (np.array([60, 60]) + BODY, np.array([-500, 0]) + BODY):
        watched.see(points, 150, 120)
        assert watched.views == [View(0, 0, 150, 120, 150, 120)]
    narrow = Watched(Crop(200, 200))
    for _ in range(2):
        narrow.see(np.array([700, 60]) + BODY, 1000, 120)
    assert [(view.width, view.height) for view in narrow.views] == [(200, 120)]


def test_what_the_next_look_is_like_is_known_before_for_batches() -> None:
    watched = Watched(Crop(200, 160))
    assert watched.follower.next_size(1024, 768) is None
    watched.see(np.array([300, 300]) + BODY, 1024, 768)
    assert watched.follower.next_size(1024, 768) == (200, 160)
    assert watched.follower.next_size(640, 480) is None
    assert watched.follower.follows_in(200, 160) == (1024, 768)
    assert watched.follower.follows_in(160, 200) is None
