"""Errors against a plain reference, and what NaN does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from poseloop_training.metrics import animal_extents, distances_px, summarize

pixels = st.floats(-500, 2000, allow_nan=False, width=32) | st.just(float("nan"))
shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))


@given(
    st.data(),
    shapes,
)
def test_against_a_loop_over_points(data: st.DataObject, shape: tuple[int, int]) -> None:
    labels = data.draw(arrays(np.float32, (*shape, 2), elements=pixels))
    labels[np.isnan(labels).any(axis=2)] = np.nan
    predicted = data.draw(arrays(np.float32, (*shape, 2), elements=pixels))
    labelled = np.isfinite(labels).all(axis=2)
    summary = summarize(distances_px(predicted, labels), labelled, animal_extents(labels))

    errors, missed = [], 0
    for label, prediction in zip(labels.reshape(-1, 2).tolist(), predicted.reshape(-1, 2).tolist(), strict=True):
        if math.isnan(label[0]):
            continue
        if math.isnan(prediction[0]) or math.isnan(prediction[1]):
            missed += 1
        else:
            errors.append(math.dist(label, prediction))
    assert summary.labelled == len(errors) + missed
    assert summary.missed == missed
    if errors:
        assert summary.mean_px == pytest.approx(sum(errors) / len(errors))
        assert summary.median_px == pytest.approx(float(np.median(errors)))
        assert summary.rmse_px == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)))
        assert summary.rmse_px >= summary.mean_px * (1 - 1e-9)
    else:
        assert math.isnan(summary.mean_px)
    if summary.labelled:
        assert summary.pck_radius[5.0] == pytest.approx(sum(e <= 5 for e in errors) / summary.labelled)


def test_rmse_is_no_mean() -> None:
    labels = np.zeros((1, 2, 2))
    predicted = np.array([[[3.0, 4.0], [0.0, 0.0]]])
    summary = summarize(distances_px(predicted, labels), np.ones((1, 2), bool), np.array([10.0]))
    assert summary.mean_px == 2.5
    assert summary.median_px == 2.5
    assert summary.rmse_px == pytest.approx(math.sqrt(12.5))
    assert summary.pck_radius == {2.5: 0.5, 5.0: 1.0, 10.0: 1.0, 20.0: 1.0}
    assert summary.pck_fraction == {0.05: 0.5, 0.1: 0.5, 0.2: 0.5}


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([[(0, 0), (3, 4)]], [5.0]),
        ([[(0, 0), (3, 4), (np.nan, np.nan)]], [5.0]),
        ([[(0, 0), (3, 4)], [(1, 1), (np.nan, np.nan)], [(0, 0), (0, 15)]], [5.0, 10.0, 15.0]),
        ([[(0, 0), (3, 4)], [(7, 7), (7, 7)]], [5.0, 5.0]),
        ([[(1, 1), (np.nan, np.nan)]], [np.nan]),
        ([[(np.nan, np.nan), (np.nan, np.nan)]], [np.nan]),
    ],
)
def test_extents(frames: list[list[tuple[float, float]]], expected: list[float]) -> None:
    np.testing.assert_allclose(animal_extents(np.array(frames, dtype=np.float32)), expected)
