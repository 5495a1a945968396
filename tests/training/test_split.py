"""Splits are the same everywhere, and test frames are in no other part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop_training.split import split_frames


def test_the_standard_test_frames() -> None:
    expected = np.random.RandomState(0).permutation(116)[:23].tolist()
    for seed in (0, 1, 2):
        split = split_frames(116, seed=seed)
        assert list(split.test) == expected
        assert len(split.validation) == 9
        assert len(split.train) == 84
    assert split_frames(116, seed=1).validation != split_frames(116, seed=2).validation
    assert split_frames(116, seed=1) == split_frames(116, seed=1)


@given(
    st.integers(3, 300),
    st.floats(0, 0.5, exclude_max=True),
    st.floats(0, 0.5, exclude_max=True),
    st.integers(0, 2**32 - 1),
)
def test_each_frame_is_in_one_part(count: int, test: float, validation: float, seed: int) -> None:
    split = split_frames(count, test_fraction=test, validation_fraction=validation, seed=seed)
    assert sorted(split.train + split.validation + split.test) == list(range(count))
    assert bool(split.test) == (test > 0)
    assert bool(split.validation) == (validation > 0)


def test_given_test_frames() -> None:
    split = split_frames(10, test=[7, 2], validation_fraction=0.25)
    assert split.test == (7, 2)
    assert len(split.validation) == 2
    assert set(split.train) | set(split.validation) == set(range(10)) - {2, 7}


@pytest.mark.parametrize(
    "arguments",
    [{"count": 1, "test": [0]}, {"count": 4, "test_fraction": 1.0}, {"count": 4, "validation_fraction": -0.1}],
)
def test_impossible_splits(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        split_frames(**arguments)  # type: ignore[arg-type]
