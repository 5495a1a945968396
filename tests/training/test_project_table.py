from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sleap_io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from poseloop.errors import InvalidInputError
from poseloop_training.project.files import write_whole
from poseloop_training.project.table import (
    LabelRows,
    merge_rows,
    one_animal,
    read_both,
    read_rows,
    same_rows,
    write_both,
)
from poseloop_training.readers import read_labels

from tests.training.label_files import frame_pixels, write_png, write_table

letters = string.ascii_letters + string.digits + " _-.é["
names = st.lists(st.text(letters, min_size=1, max_size=8), unique=True, min_size=1, max_size=4)
pixel = st.floats(-1e4, 1e4, width=64) | st.just(float("nan"))


@st.composite
def tables(draw: st.DrawFn, coords: int = 2) -> LabelRows:
    points = one_animal([name.strip() or "x" for name in draw(names)])
    points = tuple(dict.fromkeys(points))
    numbers = draw(st.lists(st.integers(0, 999), unique=True, min_size=1, max_size=6))
    values = draw(arrays(np.float64, (len(numbers), len(points), coords), elements=pixel))
    return LabelRows("cam 1", tuple(f"img{number:03d}.png" for number in numbers), points, values)


@given(rows=tables() | tables(coords=3))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_and_h5_come_back_to_the_last_bit(tmp_path: Path, rows: LabelRows) -> None:
    file = tmp_path / "labeled-data/cam 1/CollectedData_Ada.csv"
    write_both(file, rows, "Ada")
    likelihood = rows.values.shape[2] == 3
    for one in (file, file.with_suffix(".h5")):
        back = read_rows(one, likelihood=likelihood)
        assert (back.images, back.points, back.video) == (rows.images, rows.points, "cam 1")
        np.testing.assert_array_equal(back.values, rows.values)
    assert not list(file.parent.glob(".*")), "nothing half written stays"
    read_both(file, likelihood=likelihood)


@given(old=tables(), new=tables())
@settings(max_examples=50)
def test_merging_keeps_what_is_not_touched(old: LabelRows, new: LabelRows) -> None:
    new = LabelRows(new.video, new.images, old.points, np.resize(new.values, (len(new), *old.values.shape[1:])))
    merged = merge_rows(old, new)
    rows = merged.rows
    assert rows.images[: len(old)] == old.images, "frames are counted by rows"
    assert list(rows.images[len(old) :]) == sorted(set(new.images) - set(old.images)) == list(merged.added)
    for place, image in enumerate(rows.images):
        source = new if image in merged.added or image in merged.changed else old
        np.testing.assert_array_equal(rows.values[place], source.values[source.images.index(image)])
    again = merge_rows(rows, new)
    assert (again.added, again.changed) == ((), ())
    assert same_rows(again.rows, rows)


def test_pandas_finds_deeplabcuts_layout(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_Ada.csv"
    values = np.array([[[1.5, 2.5], [np.nan, np.nan]]])
    write_both(file, LabelRows("cam", ("img1.png",), one_animal(["snout", "tail"]), values), "Ada")
    assert file.read_text().splitlines() == [
        "scorer,,,Ada,Ada,Ada,Ada",
        "bodyparts,,,snout,snout,tail,tail",
        "coords,,,x,y,x,y",
        "labeled-data,cam,img1.png,1.5,2.5,,",
    ]
    for frame in (
        pd.read_hdf(file.with_suffix(".h5"), key="df_with_missing"),
        pd.read_csv(file, header=[0, 1, 2], index_col=[0, 1, 2]),
    ):
        assert frame.index.tolist() == [("labeled-data", "cam", "img1.png")]
        assert frame.columns.names == ["scorer", "bodyparts", "coords"]
        assert frame["Ada", "snout", "y"].item() == 2.5


def test_other_programs_read_the_labels(tmp_path: Path) -> None:
    folder = tmp_path / "labeled-data/cam"
    images = ("img01.png", "img02.png", "img03.png")
    for number, image in enumerate(images):
        write_png(folder / image, frame_pixels(number))
    values = np.random.default_rng(0).uniform(0, 47, (3, 2, 2))
    values[1, 0] = np.nan
    file = folder / "CollectedData_Ada.csv"
    write_both(file, LabelRows("cam", images, one_animal(["snout", "tail"]), values), "Ada")
    for one in (file, file.with_suffix(".h5")):
        ours = read_labels(one)
        np.testing.assert_allclose([image.keypoints[0] for image in ours.images], values, rtol=1e-6)
    theirs = sleap_io.load_file(str(file))
    assert sorted(theirs.skeletons[0].node_names) == ["snout", "tail"]
    order = [theirs.skeletons[0].node_names.index(name) for name in ("snout", "tail")]
    for frame in theirs.labeled_frames:
        row = images.index(Path(frame.video.filename[frame.frame_idx]).name)
        np.testing.assert_allclose(frame.instances[0].numpy()[order], values[row])
    assert len(theirs.labeled_frames) == 3


def test_tables_of_the_older_style_and_of_several_animals(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).uniform(0, 40, (2, 2, 1, 2))
    images = [("cam", "img1.png"), ("cam", "img2.png")]
    file = write_table(tmp_path / "cam/CollectedData_Ada.csv", images, labels, ["snout"], "backslashes", ["a", "b"])
    rows = read_rows(file)
    assert rows.points == (("a", "snout"), ("b", "snout"))
    write_both(file, rows, "Ada")
    assert file.read_text().splitlines()[1] == "individuals,,,a,a,b,b"
    both = read_both(file)
    assert both is not None
    np.testing.assert_array_equal(both.values, rows.values)


def test_files_that_do_not_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "cam/CollectedData_Ada.csv"
    assert read_both(file) is None
    rows = LabelRows("cam", ("img1.png",), one_animal(["snout"]), np.array([[[1.0, 2.0]]]))
    write_both(file, rows, "Ada")
    file.write_text(file.read_text().replace("2.0", "3.0"))
    with pytest.raises(InvalidInputError, match="do not say the same"):
        read_both(file)
    file.unlink()
    assert read_both(file) is not None
    file.write_text("scorer,,,A,A\nbodyparts,,,s,s\ncoords,,,x,y\nl,c,i.png,1,2\nl,c,i.png,1,2\n")
    with pytest.raises(InvalidInputError, match=r"i\.png stands twice"):
        read_rows(file)


def test_a_file_that_can_not_be_written_leaves_the_old_ones(tmp_path: Path) -> None:
    file = tmp_path / "cam/CollectedData_Ada.csv"
    rows = LabelRows("cam", ("img1.png",), one_animal(["snout"]), np.array([[[1.0, 2.0]]]))
    write_both(file, rows, "Ada")
    before = file.read_bytes()
    file.with_suffix(".h5").unlink()
    file.with_suffix(".h5").mkdir()
    with pytest.raises(InvalidInputError, match="close what has them open"):
        write_both(file, LabelRows("cam", rows.images, rows.points, rows.values + 1), "Ada")
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["CollectedData_Ada.csv", "CollectedData_Ada.h5"]
    with pytest.raises(InvalidInputError, match="can't be written"):
        write_whole(file / "beneath.yaml", b"")
