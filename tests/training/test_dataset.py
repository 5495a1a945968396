"""Labels of every format arrive in one type with the right numbers, and what can't be read says why."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import sleap_io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from poseloop.errors import InvalidInputError
from poseloop_training.dataset import load_dataset
from poseloop_training.readers.deeplabcut_table import read_table

from tests.training.label_files import (
    NAMES,
    Style,
    config_text,
    frame_pixels,
    keypoints_of,
    some_labels,
    write_coco,
    write_deeplabcut,
    write_png,
    write_table,
)

# --- DeepLabCut ---------------------------------------------------------------------------------------------------


def test_openfield_agrees_with_pandas_and_sleap_io(shared_data: Path) -> None:
    project = shared_data / "openfield"
    table = pd.read_csv(project / "labeled-data/m4s1/CollectedData_Pranav.csv", header=[0, 1, 2], index_col=0)
    dataset = load_dataset(project)
    assert dataset.keypoint_names == ("snout", "leftear", "rightear", "tailbase")
    assert [f"labeled-data/{sample.image.name}" for sample in dataset.samples] == list(table.index)
    expected = table.to_numpy().reshape(len(table), 4, 2).astype(np.float32)
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], expected)
    assert {(sample.width, sample.height) for sample in dataset.samples} == {(640, 480)}
    assert dataset.color == "gray"
    assert dataset.swap_pairs == (("leftear", "rightear"),)
    assert dataset.swap_pairs_guessed
    assert dataset.problems == ()

    other = sleap_io.load_file(str(project))
    order = [other.skeleton.node_names.index(name) for name in dataset.keypoint_names]
    theirs = np.stack([frame.numpy()[0] for frame in other])[:, order]
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], theirs.astype(np.float32))


def test_openfield_h5_and_csv_hold_the_same(shared_data: Path) -> None:
    folder = shared_data / "openfield/labeled-data/m4s1"
    from_csv, from_h5 = (load_dataset(folder / f"CollectedData_Pranav.{kind}") for kind in ("csv", "h5"))
    np.testing.assert_array_equal(keypoints_of(from_csv), keypoints_of(from_h5))
    assert [s.image for s in from_csv.samples] == [s.image for s in from_h5.samples]
    assert from_csv.labels_sha256() == from_h5.labels_sha256()


@pytest.mark.parametrize("style", ["old", "new", "backslashes"])
def test_csv_styles(tmp_path: Path, style: Style) -> None:
    labels = some_labels(7, 3)
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", labels, NAMES, style=style))
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], labels.astype(np.float32))
    for index in range(7):
        np.testing.assert_array_equal(dataset.load_image(index)[:, :, 0], frame_pixels(index))
    assert dataset.problems == ()


coordinates = st.floats(-1e5, 1e5, allow_nan=False) | st.just(float("nan"))


@settings(max_examples=40)
@given(
    labels=st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
        lambda shape: arrays(np.float64, (*shape, 2), elements=coordinates)
    ),
    style=st.sampled_from(["old", "new", "backslashes"]),
    animal=st.sampled_from([None, ["a"]]),
)
def test_tables_round_trip(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, style: Style, animal: list[str] | None
) -> None:
    names = [f"k{k}" for k in range(labels.shape[1])]
    images = [("cam", f"i{row}.png") for row in range(len(labels))]
    file = tmp_path_factory.mktemp("table") / "CollectedData_Ada.csv"
    table = read_table(write_table(file, images, labels, names, style, animal))
    expected = np.where(np.isnan(labels).any(axis=2, keepdims=True), np.nan, labels).astype(np.float32)
    np.testing.assert_array_equal(table.keypoints(animal or [""], names)[:, 0], expected)
    assert [path.name for path in table.paths] == [image for _, image in images]


@pytest.mark.parametrize("table_format", ["fixed", "table"])
def test_h5_alone_is_read(tmp_path: Path, table_format: str) -> None:
    labels = some_labels(4, 2)
    project = write_deeplabcut(tmp_path / "project", labels, NAMES[:2])
    csv_file = project / "labeled-data/cam/CollectedData_Ada.csv"
    write_h5(csv_file.with_suffix(".h5"), labels, table_format)
    csv_file.unlink()
    dataset = load_dataset(project)
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], labels.astype(np.float32))


@dataclass(frozen=True)
class Bomb:
    """Unpickling it makes a file."""

    made: Path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.made,)


def write_h5(file: Path, labels: np.ndarray, table_format: str = "table") -> Path:
    """Write ``(frames, keypoints, 2)`` labels of the first of NAMES as pandas writes them for DeepLabCut."""
    names = NAMES[: labels.shape[1]]
    columns = pd.MultiIndex.from_product([["Ada"], names, ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    parts = [("labeled-data", "cam", f"img{row:03d}.png") for row in range(len(labels))]
    rows = pd.MultiIndex.from_tuples(parts) if table_format == "fixed" else pd.Index(["/".join(p) for p in parts])
    frame = pd.DataFrame(labels.reshape(len(labels), -1), index=rows, columns=columns)
    frame.to_hdf(file, key="df_with_missing", format=table_format)
    return file


def test_code_in_an_h5_is_not_run(tmp_path: Path) -> None:
    """pandas would run it, wherever it stands; where it is needed the file is refused."""
    code = np.bytes_(pickle.dumps(Bomb(tmp_path / "ran"), protocol=0))
    file = write_h5(tmp_path / "CollectedData_Ada.h5", some_labels(2, 2))
    with h5py.File(file, "r+") as content:
        for name in ("/", "df_with_missing", "df_with_missing/table"):
            content[name].attrs["TITLE"] = content[name].attrs["info"] = code
        content["df_with_missing"].attrs["levels"] = code
    assert read_table(file).bodyparts_of([]) == NAMES[:2]
    with h5py.File(file, "r+") as content:
        content["df_with_missing/table"].attrs["values_block_0_kind"] = code
    with pytest.raises(InvalidInputError, match=r"CollectedData_Ada\.h5 holds the names of its columns .*would import"):
        load_dataset(file)
    assert not (tmp_path / "ran").exists()


def test_h5_that_points_into_another_file_is_refused(tmp_path: Path) -> None:

    with h5py.File(write_h5(tmp_path / "other.h5", some_labels(2, 2)), "r+") as content:
        content["df_with_missing/table"].attrs["values_block_0_kind"] = pickle.dumps(Bomb(tmp_path / "ran"), 0)
    file = write_h5(tmp_path / "CollectedData_Ada.h5", some_labels(2, 2))
    with h5py.File(file, "r+") as content:
        del content["df_with_missing/table"]
        content["other"] = h5py.ExternalLink("other.h5", "/df_with_missing")
        content["df_with_missing/table"] = h5py.SoftLink("/other/table")
    with pytest.raises(InvalidInputError, match="points into another file"):
        load_dataset(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["df_with_missing:pandas_type", "df_with_missing/table:values_block_0_kind"])
@pytest.mark.parametrize("value", [b"", b"(lp0\n.", b"\xff\xfe", 3.5])
def test_h5_with_damaged_attributes(tmp_path: Path, name: str, value: bytes | float) -> None:
    file = write_h5(tmp_path / "CollectedData_Ada.h5", some_labels(2, 2))
    with h5py.File(file, "r+") as content:
        item, attribute = name.split(":")
        content[item].attrs[attribute] = np.bytes_(value) if isinstance(value, bytes) else value
    with pytest.raises(InvalidInputError, match=r"CollectedData_Ada\.h5 .*; restore it, or use the csv"):
        load_dataset(file)


def test_a_missing_image_does_not_shift_the_others(tmp_path: Path) -> None:
    labels = some_labels(6, 3)
    project = write_deeplabcut(tmp_path / "project", labels, NAMES)
    (project / "labeled-data/cam/img002.png").unlink()
    dataset = load_dataset(project)
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], np.delete(labels, 2, axis=0).astype(np.float32))
    np.testing.assert_array_equal(dataset.load_image(2)[:, :, 0], frame_pixels(3))
    (problem,) = dataset.problems
    assert problem.kind == "missing_image"
    assert "frame 2" in problem.message
    assert "img002.png does not exist" in problem.message


def test_folders_come_in_the_order_of_their_names_and_rows_in_that_of_the_table(tmp_path: Path) -> None:
    project = write_deeplabcut(tmp_path / "project", some_labels(6, 3), NAMES, videos=("b", "a"))
    names = [sample.image.name for sample in load_dataset(project).samples]
    assert names == ["a/img001.png", "a/img003.png", "a/img005.png", "b/img000.png", "b/img002.png", "b/img004.png"]


@pytest.mark.parametrize(("videos", "warned"), [(("cam", "cam_cropped"), True), (("cam_cropped", "other"), False)])
def test_a_video_and_its_cropped_copy(tmp_path: Path, videos: tuple[str, str], warned: bool) -> None:
    problems = load_dataset(write_deeplabcut(tmp_path / "project", some_labels(6, 3), NAMES, videos=videos)).problems
    assert [problem.kind for problem in problems] == (["cropped_copy"] if warned else [])
    if warned:
        assert "cam and cam_cropped" in problems[0].message


def test_keypoints_follow_the_config(tmp_path: Path) -> None:
    labels = some_labels(3, 3)
    config = config_text(["rightear", "snout", "paw"], skeleton=[["rightear", "snout"], ["snout", "ghost"]])
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", labels, NAMES, config=config))
    assert dataset.keypoint_names == ("rightear", "snout", "paw")
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0, :2], labels[:, [2, 0]].astype(np.float32))
    assert np.isnan(keypoints_of(dataset)[:, 0, 2]).all()
    assert dataset.skeleton == (("rightear", "snout"),)
    assert [problem.kind for problem in dataset.problems] == ["keypoint_left_out", "edge_left_out"]


def test_a_renamed_video_folder_is_found(tmp_path: Path) -> None:
    project = write_deeplabcut(tmp_path / "project", some_labels(3, 3), NAMES)
    (project / "labeled-data/cam").rename(project / "labeled-data/camera one")
    dataset = load_dataset(project)
    assert [sample.image.name for sample in dataset.samples] == [f"camera one/img00{i}.png" for i in range(3)]


def test_a_row_never_takes_another_folders_image(tmp_path: Path) -> None:
    labels = some_labels(2, 3)
    project = write_deeplabcut(tmp_path / "project", labels, NAMES)
    file = project / "labeled-data/cam/CollectedData_Ada.csv"
    write_table(file, [("cam", "img000.png"), ("gone", "img001.png")], labels, NAMES)
    dataset = load_dataset(project)
    assert len(dataset) == 1
    assert "gone/img001.png" in dataset.problems[0].message


def test_multi_animal_table_with_one_labelled_animal_is_single(tmp_path: Path) -> None:
    labels = np.full((3, 2, 2, 2), np.nan)
    labels[:, 1] = some_labels(3, 2)
    labels[0, 1], labels[0, 0] = np.nan, 5.0
    config = config_text([], multianimalproject=True, multianimalbodyparts=["a", "b"], bodyparts="MULTI!")
    config = "\n".join(line for line in config.splitlines() if line != "multianimalproject:")
    project = write_deeplabcut(tmp_path / "project", labels[:, 0], ("a", "b"), config=config)
    images = [("cam", f"img{row:03d}.png") for row in range(3)]
    write_table(project / "labeled-data/cam/CollectedData_Ada.csv", images, labels, ("a", "b"), animals=("m1", "m2"))
    dataset = load_dataset(project)
    assert dataset.animals == 1
    np.testing.assert_array_equal(keypoints_of(dataset)[1:, 0], labels[1:, 1].astype(np.float32))
    np.testing.assert_array_equal(keypoints_of(dataset)[0, 0], labels[0, 0].astype(np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scorer,A,A\nbodyparts,s,s\ncoords,x,y\nlabeled-data/c/i.png,1,zwei\n", "line 4: 'zwei' is no number"),
        ("scorer,A,A\nbodyparts,s,s\ncoords,x,y\nlabeled-data/c/i.png,1\n", "line 4: 2 columns instead of 3"),
        ("scorer,A,A,A\nbodyparts,s,s,s\ncoords,x,y,x\ni.png,1,2,3\n", "the column s x stands twice"),
        ("scorer,A,A\nbodyparts,s,s\ncoords,likelihood,score\ni.png,1,2\n", "no columns with coordinates"),
        ("a,b\n1,2\n", "does not start with DeepLabCut's header rows"),
        ("", "does not start with DeepLabCut's header rows"),
        ("scorer,A,A\nbodyparts,s,s\ncoords,x,y\n", "label frames first"),
        ("scorer,A,A\nbodyparts,s\ncoords,x,y\ni.png,1,2\n", "differ in length"),
    ],
)
def test_damaged_tables(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "CollectedData_A.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        load_dataset(file)


@settings(max_examples=60)
@given(data=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_file_is_read_or_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    for kind in ("csv", "h5", "slp", "json", "txt"):
        file = folder / f"labels.{kind}"
        file.write_bytes(data)
        with pytest.raises(InvalidInputError):
            load_dataset(file)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("bodyparts: [a, b", "is not valid YAML"),
        ("- a\n- b\n", "is no DeepLabCut project file"),
        ("bodyparts:\nscorer: Ada\n", "'bodyparts' must be a list"),
        ("bodyparts: [nose, hip]\nscorer: Ada\n", "make the names the same"),
    ],
)
def test_damaged_configs(tmp_path: Path, config: str, message: str) -> None:
    project = write_deeplabcut(tmp_path / "project", some_labels(2, 3), NAMES, config=config)
    with pytest.raises(InvalidInputError, match=message):
        load_dataset(project)


def test_other_scorers(tmp_path: Path) -> None:
    project = write_deeplabcut(tmp_path / "project", some_labels(2, 3), NAMES, config=config_text(NAMES, scorer="Bob"))
    (problem,) = load_dataset(project).problems
    assert problem.kind == "other_scorer"
    file = project / "labeled-data/cam/CollectedData_Ada.csv"
    file.with_name("CollectedData_Eve.csv").write_bytes(file.read_bytes())
    with pytest.raises(InvalidInputError, match="CollectedData_Ada, CollectedData_Eve"):
        load_dataset(project)


@pytest.mark.parametrize("path", ["nowhere", "", "notes.txt"])
def test_what_is_no_dataset_is_refused_with_the_formats_that_are(tmp_path: Path, path: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidInputError, match="a DeepLabCut project folder, a CollectedData"):
        load_dataset(tmp_path / path)


# --- COCO ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "images/"])
def test_coco(tmp_path: Path, folder: str) -> None:
    labels = some_labels(4, 3)
    for row in range(4):
        write_png(tmp_path / f"{folder}cam/i{row}.png", frame_pixels(row))
    images = [f"cam/i{row}.png" for row in range(4)]
    dataset = load_dataset(write_coco(tmp_path / "mice.json", labels[:, None], NAMES, images, edges=[(1, 2), (1, 3)]))
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], labels.astype(np.float32))
    assert dataset.skeleton == (("snout", "leftear"), ("snout", "rightear"))
    np.testing.assert_array_equal(dataset.load_image(3)[:, :, 0], frame_pixels(3))
    deeplabcut = load_dataset(write_deeplabcut(tmp_path / "project", labels, NAMES))
    assert dataset.labels_sha256() == deeplabcut.labels_sha256()


def test_coco_of_windows(tmp_path: Path) -> None:
    labels = some_labels(4, 3)
    for row in range(4):
        write_png(tmp_path / f"images/cam{row % 2}/i{row // 2}.png", frame_pixels(row))
    images = [f"cam{row % 2}\\i{row // 2}.png" for row in range(4)]
    dataset = load_dataset(write_coco(tmp_path / "mice.json", labels[:, None], NAMES, images))
    np.testing.assert_array_equal(keypoints_of(dataset)[:, 0], labels.astype(np.float32))
    np.testing.assert_array_equal(dataset.load_image(3)[:, :, 0], frame_pixels(3))
    assert dataset.samples[3].image.name == "cam1/i1.png"


def test_coco_never_takes_an_image_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    labels = some_labels(2, 3)
    for place in ("a/i.png", "other/j.png"):
        write_png(tmp_path / place, frame_pixels(0))
    dataset = load_dataset(write_coco(tmp_path / "mice.json", labels[:, None], NAMES, ["a/i.png", "b/j.png"]))
    assert [sample.image.name for sample in dataset.samples] == ["a/i.png"]
    assert [problem.kind for problem in dataset.problems] == ["missing_image"]


def test_coco_of_two_categories_or_none(tmp_path: Path) -> None:
    write_png(tmp_path / "i.png", frame_pixels(0))
    file = write_coco(tmp_path / "mice.json", some_labels(1, 3)[:, None], NAMES, ["i.png"])
    content = json.loads(file.read_text())
    content["categories"].append({"id": 2, "name": "rat", "keypoints": ["a", "b", "c"]})
    assert len(load_dataset(file)) == 1  # a category without labels does not matter
    content["annotations"].append({**content["annotations"][0], "id": 9, "category_id": 2})
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=r"several categories \(mouse, rat\)"):
        load_dataset(file)
    content["annotations"] = []
    file.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match="no label with keypoints"):
        load_dataset(file)


# --- The type -----------------------------------------------------------------------------------------------------


def test_colour_is_kept_and_converted(tmp_path: Path) -> None:
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", some_labels(2, 3), NAMES, color=True))
    assert dataset.color == "rgb"
    pixels = frame_pixels(1, color=True)
    np.testing.assert_array_equal(dataset.load_image(1), pixels)
    gray = dataset.load_image(1, "gray")
    assert gray.shape == (48, 64, 1)
    np.testing.assert_allclose(gray[..., 0], pixels @ [0.299, 0.587, 0.114], atol=0.6)


def test_one_hash_is_of_the_labels_and_one_of_their_rows(tmp_path: Path) -> None:
    labels = some_labels(5, 3)
    dataset = load_dataset(write_deeplabcut(tmp_path / "a", labels, NAMES))
    shuffled = load_dataset(write_deeplabcut(tmp_path / "b", labels[::-1][:, [2, 0, 1]], [NAMES[i] for i in (2, 0, 1)]))
    assert shuffled.labels_sha256() == dataset.labels_sha256()
    assert dataset.subset([3, 1]).images_sha256([0, 1]) == dataset.images_sha256([1, 3])
    assert dataset.images_sha256([0]) != dataset.images_sha256([1])
    assert shuffled.rows_sha256() != dataset.rows_sha256()
    reordered = load_dataset(write_deeplabcut(tmp_path / "d", labels[:, [2, 0, 1]], [NAMES[i] for i in (2, 0, 1)]))
    assert reordered.rows_sha256() == dataset.rows_sha256()
    moved = labels.copy()
    moved[0, 0, 0] += 0.001
    assert load_dataset(write_deeplabcut(tmp_path / "c", moved, NAMES)).labels_sha256() != dataset.labels_sha256()


def test_swap_pairs_can_be_given(tmp_path: Path) -> None:
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", some_labels(2, 3), NAMES))
    changed = dataset.with_swap_pairs([("snout", "leftear")])
    assert changed.swap_pairs == (("snout", "leftear"),)
    assert not changed.swap_pairs_guessed
    assert dataset.with_swap_pairs([]).swap_pairs == ()
    with pytest.raises(InvalidInputError, match="'tail' is no keypoint"):
        dataset.with_swap_pairs([("snout", "tail")])
    with pytest.raises(InvalidInputError, match="'snout' stands twice"):
        dataset.with_swap_pairs([("snout", "leftear"), ("rightear", "snout")])


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("ear\x1b[31m", True),
        ("ear\u202e", True),
        ("ear\u2028", True),
        ("left\u00a0ear", False),
        ("\u06af\u0648\u0634\u200c", False),
    ],
)
def test_a_keypoint_whose_name_a_terminal_would_obey_is_refused(tmp_path: Path, name: str, refused: bool) -> None:
    project = write_deeplabcut(tmp_path / "project", some_labels(2, 2), ["snout", name])
    if refused:
        with pytest.raises(InvalidInputError, match="holds a control character") as raised:
            load_dataset(project)
        assert name not in str(raised.value)
    else:
        assert load_dataset(project).keypoint_names == ("snout", name)


def test_images_are_not_held(tmp_path: Path) -> None:
    dataset = load_dataset(write_deeplabcut(tmp_path / "project", some_labels(40, 3), NAMES))
    dataset.images_sha256([0])
    tracemalloc.start()
    dataset.images_sha256(range(40))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 64 * 48
