import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.clip import Clip
from poseloop_server.overlay import Overlay, color_of

NAMES = ("snout", "tail")


def drawn(*points: tuple[float, float, float], skeleton: tuple[tuple[str, str], ...] = ()) -> np.ndarray:
    image = np.full((240, 320, 3), 100, np.uint8)
    Overlay(NAMES, skeleton).draw(image, np.array([points], np.float32))
    return image.astype(int) - 100


@pytest.mark.parametrize(("x", "y"), [(50.0, 60.0), (50.4, 60.3), (200.75, 100.5)])
def test_a_keypoint_is_drawn_where_it_lies(x: float, y: float) -> None:
    change = np.abs(drawn((x, y, 1.0), (np.nan, np.nan, 0.0))).sum(axis=2)
    rows, columns = np.nonzero(change)
    weight = change[rows, columns]
    assert (columns * weight).sum() / weight.sum() == pytest.approx(x, abs=0.25)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(y, abs=0.25)
    middle = drawn((x, y, 1.0), (np.nan, np.nan, 0.0))[round(y), round(x)] + 100
    assert tuple(middle) == pytest.approx(color_of(0), abs=2)


def test_a_surer_keypoint_is_larger_and_more_opaque() -> None:
    sure, unsure = (np.abs(drawn((90, 90, c), (np.nan, np.nan, 0))).sum() for c in (1.0, 0.3))
    assert sure > 2 * unsure > 0


@pytest.mark.parametrize("point", [(np.nan, np.nan, 0.0), (90.0, 90.0, 0.01), (-500.0, 90.0, 1.0), (90.0, 1e6, 1.0)])
def test_what_is_absent_unsure_or_outside_is_not_drawn(point: tuple[float, float, float]) -> None:
    assert not drawn(point, (np.nan, np.nan, 0.0)).any()


def test_an_edge_needs_both_of_its_ends() -> None:
    edge = (("snout", "tail"),)
    between = drawn((50, 60, 1), (150, 60, 1), skeleton=edge)[60, 100]
    assert between.min() > 50
    assert not drawn((50, 60, 1), (np.nan, np.nan, 0), skeleton=edge)[60, 100].any()


@pytest.mark.parametrize("point", [(0.0, 0.0, 1.0), (319.0, 239.0, 1.0)])
def test_a_keypoint_at_the_border_is_cut(point: tuple[float, float, float]) -> None:
    assert drawn(point, (np.nan, np.nan, 0.0)).any()


def test_a_clip_holds_what_was_added_and_refuses_another_size(tmp_path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "clip.mp4"
    with Clip(path, 25.0) as clip:
        for level in (50, 200):
            clip.add(np.full((120, 160, 3), level, np.uint8))
        with pytest.raises(InvalidInputError, match="160x120 to 100x120"):
            clip.add(np.zeros((120, 100, 3), np.uint8))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    levels = [int(capture.read()[1].mean()) for _ in range(2)]
    assert levels == pytest.approx([50, 200], abs=4)
    assert not capture.read()[0]


def test_a_clip_that_cannot_be_written_says_so(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="can't be written"), Clip(tmp_path / "no" / "clip.mp4", 25.0) as clip:
        clip.add(np.zeros((64, 64, 3), np.uint8))
