"""HDF5 files that were given: frames come as pandas itself reads them, and what was made to harm is one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from poseloop.errors import InvalidInputError
from poseloop.hdf import open_given
from poseloop.pandas_hdf import PandasFrame, pandas_groups, read_frame

NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
LABEL_NAMES = ["scorer", "bodyparts", "coords"]


def nothing_is_too_large(_size: int) -> None:
    pass


def frame_of(path: Path) -> PandasFrame:
    with open_given(path, "use the csv", nothing_is_too_large) as file:
        (group,) = pandas_groups(file)
        return read_frame(file, group)


@st.composite
def frames(draw: st.DrawFn) -> tuple[pd.DataFrame, str]:
    """Return a frame of labels, and how it is written."""
    parts = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    columns = pd.MultiIndex.from_product([[draw(NAME)], parts, ["x", "y"]], names=LABEL_NAMES)
    layout = draw(st.sampled_from(["fixed", "fixed, levels", "table", "table, numbers", "table, numbers"]))
    # A table without rows pandas does not write at all.
    images = draw(st.lists(NAME, min_size=int(layout.startswith("table")), max_size=5, unique=True))
    rows: Any = pd.Index(images, dtype=object)
    if layout == "fixed, levels" and images:
        rows = pd.MultiIndex.from_tuples([("labeled-data", "cam", image) for image in images])
    elif layout == "table, numbers":
        rows = pd.RangeIndex(len(images))
    values = draw(st.lists(st.floats(width=64), min_size=len(rows) * len(columns), max_size=len(rows) * len(columns)))
    frame = pd.DataFrame(np.array(values).reshape(len(rows), len(columns)), index=rows, columns=columns)
    for column in columns[draw(st.permutations(range(len(columns)))).pop() :]:  # a block for each type
        frame[column] = np.arange(len(rows)).astype(draw(st.sampled_from(["i8", "f8", "f4", "u1", "?"])))
    return frame, layout


@settings(max_examples=60)
@given(frames())
def test_a_frame_is_read_as_pandas_reads_it(tmp_path_factory: pytest.TempPathFactory, given_: Any) -> None:
    frame, layout = given_
    path = tmp_path_factory.mktemp("frame") / "x.h5"
    frame.to_hdf(path, key="labels", format=layout.partition(",")[0])
    theirs = pd.read_hdf(path)
    ours = frame_of(path)
    assert isinstance(theirs, pd.DataFrame)
    assert ours.columns == [tuple(label) for label in theirs.columns]
    rows = list(zip(*(level.tolist() for level in ours.rows), strict=True))
    assert rows == [row if isinstance(row, tuple) else (row,) for row in theirs.index]
    np.testing.assert_array_equal(ours.values, theirs.to_numpy(np.float64))


FRAME = pd.DataFrame(
    np.ones((2, 2)),
    index=pd.MultiIndex.from_tuples([("labeled-data", "cam", "a.png"), ("labeled-data", "cam", "b.png")]),
    columns=pd.MultiIndex.from_product([["Ada"], ["snout"], ["x", "y"]], names=LABEL_NAMES),
)


def replaced(name: str, **how: Any) -> Callable[[h5py.File], None]:
    """Return what puts another array in the place of one; its attributes stay."""

    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        array = file.create_dataset(name, **how)
        for attribute, value in attributes.items():
            array.attrs[attribute] = value

    return change


def told(name: str, attribute: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name].attrs[attribute] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (told("df", "pandas_type", np.bytes_(b"series")), "holds no table of pandas, but 'series'"),
        (told("df", "nblocks", 10**9), "says nblocks 1000000000"),
        (told("df", "nblocks", [1, 1]), "no single value in nblocks"),
        (told("df", "pandas_type", "frame" * 10**6), "no single value in pandas_type"),
        (told("df", "pandas_type", h5py.Empty("S1")), "no single value in pandas_type"),
        (told("df", "encoding", np.bytes_(b"punycode")), "holds text as punycode"),
        (told("df", "axis0_nlevels", -1), "says axis0_nlevels -1"),
        (told("df/axis1_level2", "kind", np.bytes_(b"object")), "neither text nor integers"),
        (replaced("df/axis1_label2", data=np.array([0, -1])), "without a name"),
        (replaced("df/axis1_label2", data=np.array([0, 2])), "without a name"),
        (replaced("df/axis1_label2", data=np.array([0])), "without a name"),
        (replaced("df/axis1_label2", data=np.array([0.0, 1.0])), "without a name"),
        (replaced("df/axis1_label2", data=np.array([[0, 1], [0, 1]])), "without a name"),
        (replaced("df/axis1_level2", data=np.ones((2, 2))), "neither text nor integers"),
        (replaced("df/axis1_level2", data=np.array([b"a.png", b"\xff"])), "can't be read as HDF5"),
        (
            replaced("df/axis1_level2", data=["a.png", "b.png"], dtype=h5py.string_dtype()),
            "more than numbers and names",
        ),
        (replaced("df/block0_values", data=np.ones((3, 2))), "2 rows and 2 columns, and"),
        (replaced("df/block0_values", data=np.array([[b"a", b"b"]] * 2)), "holds more than numbers"),
        (
            replaced("df/block0_values", shape=(2, 2), dtype=h5py.vlen_dtype(np.uint8)),
            "holds more than numbers",
        ),
        (replaced("df/block0_values", shape=(2, 10**8), dtype="f8", chunks=(1, 1)), "in too many pieces"),
        (replaced("df/block0_values", shape=(2, 2), dtype="f8", external=[("x.raw", 0, 32)]), "points into another"),
        (replaced("df/axis0_label2", data=np.array([0, 0])), None),  # a column twice: the reader of labels says so
        (replaced("df/block0_items_label2", data=np.array([0, 0])), "names columns that it does not hold"),
        (lambda file: file.__delitem__("df/block0_values"), "can't be read as HDF5"),
        (lambda file: file.__setitem__("x", h5py.ExternalLink("y.h5", "/")), "points into another file"),
    ],
)
def test_a_crafted_frame_is_one_sentence(tmp_path: Path, change: Callable[[h5py.File], None], said: str | None) -> None:
    path = tmp_path / "x.h5"
    FRAME.to_hdf(path, key="df")
    with h5py.File(path, "r+") as file:
        change(file)
    if said is None:
        assert len(frame_of(path).columns) == 2
        return
    with pytest.raises(InvalidInputError, match=rf"x\.h5 .*{said}.*; use the csv$"):
        frame_of(path)


def test_an_array_that_only_promises_to_be_there_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    FRAME.to_hdf(path, key="df")
    with h5py.File(path, "r+") as file:
        replaced("df/block0_values", shape=(2, 10**12), dtype="f8", chunks=(2, 10**7))(file)
    sizes: list[int] = []

    def require_room(size: int) -> None:
        sizes.append(size)
        if size > 10**9:
            raise InvalidInputError("too large")

    with pytest.raises(InvalidInputError, match="too large"), open_given(path, "", require_room) as file:
        read_frame(file, file.content["df"])
    assert max(sizes) >= 2 * 10**12 * 8


def test_a_table_of_several_types_keeps_the_order_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    columns = pd.MultiIndex.from_product([["Ada"], ["a", "b"], ["x", "y"]], names=LABEL_NAMES)
    frame = pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=columns)
    frame[("Ada", "a", "x")] = frame[("Ada", "a", "x")].astype("f4")
    frame.to_hdf(path, key="df", format="table")
    ours = frame_of(path)
    assert ours.columns == list(columns)
    np.testing.assert_array_equal(ours.values, np.arange(8.0).reshape(2, 4))


def test_rows_of_a_table_named_by_text_of_variable_length_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    kind = np.dtype([("index", h5py.string_dtype()), ("values_block_0", "<f8", (2,))])
    with h5py.File(path, "w") as file:
        table = file.create_dataset("df/table", (2,), kind)
        table.parent.attrs["pandas_type"] = np.bytes_(b"frame_table")
        table.attrs["index_kind"] = np.bytes_(b"string")
    with pytest.raises(InvalidInputError, match="names rows or columns by neither text nor integers"):
        frame_of(path)


def test_text_is_read_in_the_encoding_that_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    FRAME.rename(columns={"snout": "\u00d6hr"}).to_hdf(path, key="df", encoding="latin1")
    assert frame_of(path).columns[0] == ("Ada", "\u00d6hr", "x")


def test_times_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    times = pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])})
    for frame in (times, times.assign(b=1).set_index("a")):
        frame.to_hdf(path, key="df", format="table", mode="w")
        with pytest.raises(InvalidInputError, match=r"more than numbers|by neither text nor integers"):
            frame_of(path)


def test_a_name_that_is_no_text_is_no_fault_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    FRAME.to_hdf(path, key="df")
    whole = bytearray(path.read_bytes())
    whole[whole.find(b"block0_values\0") + 3] = 0xFF
    path.write_bytes(whole)
    with pytest.raises(InvalidInputError, match="can't be read as HDF5"):
        frame_of(path)


def test_groups_in_groups_are_not_followed_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(300):
            group = group.create_group("a")
        file["a/a/circle"] = file["a"]
    with pytest.raises(InvalidInputError, match="more groups or arrays than can be gone through"):
        frame_of(path)


@settings(max_examples=200)
@given(st.data())
def test_no_damage_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / "x.h5"
    FRAME.to_hdf(path, key="df", format="fixed")
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    with contextlib.suppress(InvalidInputError):
        frame_of(path)
